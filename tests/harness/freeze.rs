//! One thread of another process stands still, as in a driver that hangs, and all others go on.

use std::sync::mpsc::channel;

/// Stops a thread of a process by its name, until the process ends.
///
/// # Errors
/// If there is no such thread, or the system forbids it.
#[expect(unsafe_code, reason = "only a debugger can stop one thread; the library has no wrapper")]
pub fn freeze(pid: u32, name: &str) -> Result<(), String> {
    let tid = thread(pid, name).ok_or_else(|| format!("{pid} has no thread {name}"))?;
    let (tell, told) = channel();
    // The thread that stops another one must live as long as that, and bury it.
    std::thread::spawn(move || {
        let nothing = std::ptr::null_mut::<libc::c_void>();
        let request = |what| {
            // SAFETY: these two requests take no pointers and touch no memory of this process.
            match unsafe { libc::ptrace(what, tid, nothing, nothing) } {
                -1 => Err(std::io::Error::last_os_error().to_string()),
                _ => Ok(()),
            }
        };
        let stopped = request(libc::PTRACE_SEIZE).and_then(|()| request(libc::PTRACE_INTERRUPT));
        let failed = stopped.is_err();
        let _ = tell.send(stopped);
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        while !failed && unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL) } == tid {
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                return;
            }
        }
    });
    told.recv().map_err(|error| error.to_string())?
}

fn thread(pid: u32, name: &str) -> Option<libc::pid_t> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    threads.flatten().find_map(|thread| {
        let found = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        if found.trim() == name { thread.file_name().to_str()?.parse().ok() } else { None }
    })
}
