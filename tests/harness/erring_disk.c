// erring_disk.c: a disk that errs on request, as a library for LD_PRELOAD.
//
// It stands between a program and the C library. Calls to paths under one folder fail with a
// chosen error or are delayed, as the rules in a control file say; all other calls pass through.
// `erring_disk.rs` describes the rules, and writes them.
//
//   ERRING_DISK_FOLDER    the folder, absolute and without links
//   ERRING_DISK_CONTROL   the file of rules; read anew at each call, so it can change in mid-run
//   CONTROL.counts        one 64-bit counter per line of rules: calls that fit the line so far, in
//                         all processes together
//   CONTROL.log           one line per call that failed or was delayed

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { MOST_RULES = 64, LONGEST = 2 * PATH_MAX };

static const char *folder, *control;
static uint64_t *counts;
static char role[64];

// The program's own calls must not come back here: everything below uses system calls directly.
static long slurp(const char *path, char *into, size_t room) {
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return -1;
    long n = syscall(SYS_read, fd, into, room - 1);
    syscall(SYS_close, fd);
    into[n < 0 ? 0 : n] = 0;
    return n;
}

__attribute__((constructor)) static void begin(void) {
    folder = getenv("ERRING_DISK_FOLDER");
    control = getenv("ERRING_DISK_CONTROL");
    if (!folder || !control) {
        folder = NULL;
        return;
    }
    // The role is the first argument: `coordinator`, `worker`, `up`.
    char line[4096];
    long n = slurp("/proc/self/cmdline", line, sizeof line);
    size_t first = n > 0 ? strlen(line) + 1 : 0;
    if (n > 0 && first < (size_t)n) snprintf(role, sizeof role, "%s", line + first);
    char path[LONGEST];
    snprintf(path, sizeof path, "%s.counts", control);
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    void *at = fd < 0 ? MAP_FAILED
                      : mmap(NULL, MOST_RULES * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0) syscall(SYS_close, fd);
    if (at == MAP_FAILED) folder = NULL;
    else counts = at;
}

// The words of a call are separated by commas.
static int has_word(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *at = list; at; at = strchr(at, ','), at = at ? at + 1 : NULL)
        if (!strncmp(at, word, n) && (at[n] == ',' || at[n] == 0)) return 1;
    return 0;
}

// A number that looks random and depends only on the seed and the number of the call.
static uint64_t mixed(uint64_t seed, uint64_t n) {
    uint64_t z = seed * 0x9e3779b97f4a7c15u + (n + 1) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int is_due(const char *which, uint64_t n) {
    unsigned long a = 0, b = 0;
    if (!strcmp(which, "every")) return 1;
    if (sscanf(which, "first:%lu", &a) == 1) return n < a;
    if (sscanf(which, "nth:%lu", &a) == 1) return n + 1 == a;
    if (sscanf(which, "random:%lu:%lu", &a, &b) == 2) return mixed(b, n) % 1000 < a;
    return 0;
}

static void note(const char *call, const char *path, const char *what) {
    char line[LONGEST + 256], log[LONGEST];
    snprintf(log, sizeof log, "%s.log", control);
    int n = snprintf(line, sizeof line, "%s %d %s %s %s\n", role, getpid(), call, what, path);
    int fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return;
    syscall(SYS_write, fd, line, (size_t)n);
    syscall(SYS_close, fd);
}

// The error with which a call has to fail; 0: it passes, after its delay.
static int verdict(const char *call, const char *path) {
    size_t n = strlen(folder);
    if (strncmp(path, folder, n) || (path[n] != '/' && path[n] != 0)) return 0;
    char text[8192];
    if (slurp(control, text, sizeof text) <= 0) return 0;
    char *lines = NULL;
    int i = 0;
    for (char *line = strtok_r(text, "\n", &lines); line && i < MOST_RULES;
         line = strtok_r(NULL, "\n", &lines), i++) {
        char calls[128], which[64], what[64], part[256] = "*", of[64] = "*";
        if (sscanf(line, "%127s %63s %63s %255s %63s", calls, which, what, part, of) < 3) continue;
        if (strcmp(calls, "any") && !has_word(calls, call)) continue;
        int without = *part == '!';
        int is_in = strstr(path + n, part + without) != NULL;
        if (strcmp(part, "*") && is_in == without) continue;
        if (strcmp(of, "*") && strcmp(of, role)) continue;
        if (!is_due(which, __atomic_fetch_add(&counts[i], 1, __ATOMIC_RELAXED))) continue;
        note(call, path, what);
        unsigned long ms;
        if (sscanf(what, "delay:%lu", &ms) == 1) {
            struct timespec time = {ms / 1000, (ms % 1000) * 1000000};
            syscall(SYS_nanosleep, &time, NULL);
            continue;
        }
        if (!strcmp(what, "EIO")) return EIO;
        if (!strcmp(what, "ENOSPC")) return ENOSPC;
        if (!strcmp(what, "EACCES")) return EACCES;
        if (!strcmp(what, "EROFS")) return EROFS;
    }
    return 0;
}

static int of_fd(const char *call, int fd) {
    if (!folder) return 0;
    char link[64], path[LONGEST];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return verdict(call, path);
}

static int of_path(const char *call, int at, const char *path) {
    if (!folder || !path) return 0;
    if (!*path) return at == AT_FDCWD ? 0 : of_fd(call, at);
    if (*path == '/') return verdict(call, path);
    char whole[2 * LONGEST], link[64];
    if (at == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    long n = syscall(SYS_readlinkat, AT_FDCWD, link, whole, PATH_MAX);
    if (n <= 0) return 0;
    snprintf(whole + n, sizeof whole - n, "/%s", path);
    return verdict(call, whole);
}

// A function of the C library, and the call of it that a verdict of 0 leads to.
#define REAL(type, name, ...)                                                                      \
    static type (*real)(__VA_ARGS__);                                                              \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)
#define FAIL_IF(error, failed)                                                                     \
    do {                                                                                           \
        int is = (error);                                                                          \
        if (is) {                                                                                  \
            errno = is;                                                                            \
            return failed;                                                                         \
        }                                                                                          \
    } while (0)

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...) {                                                   \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode_t mode = va_arg(more, mode_t);                                                        \
        va_end(more);                                                                              \
        FAIL_IF(of_path("open", AT_FDCWD, path), -1);                                              \
        REAL(int, #name, const char *, int, ...);                                                  \
        return real(path, flags, mode);                                                            \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                               \
    int name(int at, const char *path, int flags, ...) {                                           \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode_t mode = va_arg(more, mode_t);                                                        \
        va_end(more);                                                                              \
        FAIL_IF(of_path("open", at, path), -1);                                                    \
        REAL(int, #name, int, const char *, int, ...);                                             \
        return real(at, path, flags, mode);                                                        \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t read(int fd, void *into, size_t n) {
    FAIL_IF(of_fd("read", fd), -1);
    REAL(ssize_t, "read", int, void *, size_t);
    return real(fd, into, n);
}
ssize_t readv(int fd, const struct iovec *into, int n) {
    FAIL_IF(of_fd("read", fd), -1);
    REAL(ssize_t, "readv", int, const struct iovec *, int);
    return real(fd, into, n);
}
ssize_t pread64(int fd, void *into, size_t n, off64_t at) {
    FAIL_IF(of_fd("read", fd), -1);
    REAL(ssize_t, "pread64", int, void *, size_t, off64_t);
    return real(fd, into, n, at);
}
ssize_t write(int fd, const void *from, size_t n) {
    FAIL_IF(of_fd("write", fd), -1);
    REAL(ssize_t, "write", int, const void *, size_t);
    return real(fd, from, n);
}
ssize_t writev(int fd, const struct iovec *from, int n) {
    FAIL_IF(of_fd("write", fd), -1);
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return real(fd, from, n);
}
ssize_t pwrite64(int fd, const void *from, size_t n, off64_t at) {
    FAIL_IF(of_fd("write", fd), -1);
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return real(fd, from, n, at);
}
int ftruncate64(int fd, off64_t n) {
    FAIL_IF(of_fd("write", fd), -1);
    REAL(int, "ftruncate64", int, off64_t);
    return real(fd, n);
}
int fsync(int fd) {
    FAIL_IF(of_fd("sync", fd), -1);
    REAL(int, "fsync", int);
    return real(fd);
}
int fdatasync(int fd) {
    FAIL_IF(of_fd("sync", fd), -1);
    REAL(int, "fdatasync", int);
    return real(fd);
}
int rename(const char *from, const char *to) {
    FAIL_IF(of_path("rename", AT_FDCWD, to), -1);
    REAL(int, "rename", const char *, const char *);
    return real(from, to);
}
int link(const char *from, const char *to) {
    FAIL_IF(of_path("rename", AT_FDCWD, to), -1);
    REAL(int, "link", const char *, const char *);
    return real(from, to);
}
int linkat(int at, const char *from, int there, const char *to, int flags) {
    FAIL_IF(of_path("rename", there, to), -1);
    REAL(int, "linkat", int, const char *, int, const char *, int);
    return real(at, from, there, to, flags);
}
int mkdir(const char *path, mode_t mode) {
    FAIL_IF(of_path("mkdir", AT_FDCWD, path), -1);
    REAL(int, "mkdir", const char *, mode_t);
    return real(path, mode);
}
int unlink(const char *path) {
    FAIL_IF(of_path("unlink", AT_FDCWD, path), -1);
    REAL(int, "unlink", const char *);
    return real(path);
}
int unlinkat(int at, const char *path, int flags) {
    FAIL_IF(of_path("unlink", at, path), -1);
    REAL(int, "unlinkat", int, const char *, int);
    return real(at, path, flags);
}
int rmdir(const char *path) {
    FAIL_IF(of_path("unlink", AT_FDCWD, path), -1);
    REAL(int, "rmdir", const char *);
    return real(path);
}
DIR *opendir(const char *path) {
    FAIL_IF(of_path("readdir", AT_FDCWD, path), NULL);
    REAL(DIR *, "opendir", const char *);
    return real(path);
}
struct dirent64 *readdir64(DIR *dir) {
    FAIL_IF(of_fd("readdir", dirfd(dir)), NULL);
    REAL(struct dirent64 *, "readdir64", DIR *);
    return real(dir);
}
int stat64(const char *path, struct stat64 *into) {
    FAIL_IF(of_path("stat", AT_FDCWD, path), -1);
    REAL(int, "stat64", const char *, struct stat64 *);
    return real(path, into);
}
int lstat64(const char *path, struct stat64 *into) {
    FAIL_IF(of_path("stat", AT_FDCWD, path), -1);
    REAL(int, "lstat64", const char *, struct stat64 *);
    return real(path, into);
}
int fstat64(int fd, struct stat64 *into) {
    FAIL_IF(of_fd("stat", fd), -1);
    REAL(int, "fstat64", int, struct stat64 *);
    return real(fd, into);
}
int fstatat64(int at, const char *path, struct stat64 *into, int flags) {
    FAIL_IF(of_path("stat", at, path), -1);
    REAL(int, "fstatat64", int, const char *, struct stat64 *, int);
    return real(at, path, into, flags);
}
int statx(int at, const char *path, int flags, unsigned mask, struct statx *into) {
    FAIL_IF(of_path("stat", at, path), -1);
    REAL(int, "statx", int, const char *, int, unsigned, struct statx *);
    return real(at, path, flags, mask, into);
}
