//! A disk that errs on request: calls of real processes to paths under one folder fail with a
//! chosen error or are delayed, from the start or from the middle of a run.
//!
//! [`ErringDisk::environment`] goes to the processes; [`ErringDisk::rules`] may be called at any
//! time, and is obeyed from the next call on. Each rule is one line of words, separated by spaces:
//!
//! ```text
//! CALLS WHICH WHAT [PATH [ROLE]]
//!
//! CALLS   any, or some of: open read write sync rename mkdir unlink readdir stat, with commas
//!         (write: truncation too; sync: fsync and fdatasync; rename: hard links too;
//!         unlink: of folders too; readdir: opening the folder too)
//! WHICH   every | first:N | nth:N | random:PER_THOUSAND:SEED
//! WHAT    EIO | ENOSPC | EACCES | EROFS | delay:MILLISECONDS
//! PATH    only paths with this text in them, below the folder; with ! before it, only paths
//!         without; * for all
//! ROLE    only processes of this command, such as coordinator; * for all
//!
//! sync every delay:2000 * coordinator
//! open,read first:3 EIO manifest.json
//! any random:20:7 EIO !logs
//! ```
//!
//! The first line that makes a call fail decides. N counts the calls of all processes that fit the
//! line, from the latest [`ErringDisk::rules`] on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// First argument of the program under test for [`main`].
pub const WORD: &str = "erring-disk-probe";

const SOURCE: &str = include_str!("erring_disk.c");
/// The library's limit.
const MOST_RULES: usize = 64;

/// A folder whose disk errs as told.
#[derive(Debug, Clone)]
pub struct ErringDisk {
    folder: PathBuf,
    control: PathBuf,
    library: PathBuf,
}

impl ErringDisk {
    /// A disk that does not err yet; `folder` is created. The control file lies in `beside`, which
    /// must not be in `folder`.
    pub fn new(folder: &Path, beside: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("the folder");
        let new = Self {
            folder: folder.canonicalize().expect("the folder"),
            control: beside.canonicalize().expect("a folder").join("erring-disk"),
            library: library(),
        };
        new.rules(&[]);
        new
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The environment of the processes that shall see this disk.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        [
            ("LD_PRELOAD", text(&self.library)),
            ("ERRING_DISK_FOLDER", text(&self.folder)),
            ("ERRING_DISK_CONTROL", text(&self.control)),
        ]
    }

    /// Obeys these rules from now on, and no others; they count from zero.
    pub fn rules(&self, rules: &[&str]) {
        assert!(rules.len() <= MOST_RULES, "{} rules", rules.len());
        let put = |path: &Path, bytes: &[u8]| {
            let beside = path.with_added_extension("new");
            std::fs::write(&beside, bytes).expect("a control file");
            std::fs::rename(&beside, path).expect("a control file");
        };
        // The counters are mapped by processes that run, so the file stays the same one.
        put(&self.control, b"");
        let counts = self.control.with_added_extension("counts");
        let mut file = std::fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(counts)
            .expect("counters");
        file.write_all(&[0; 8 * MOST_RULES]).expect("counters");
        put(&self.control, rules.join("\n").as_bytes());
    }

    /// One line per call that failed or was delayed: role, process, call, what, path.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.control.with_added_extension("log")).unwrap_or_default()
    }

    /// Number of calls that failed or were delayed.
    pub fn hits(&self) -> usize {
        self.log().lines().count()
    }
}

/// The library, built once per test process with the system's C compiler.
fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let own = std::env::current_exe().expect("this program's own file");
        let library = own.with_file_name("erring_disk.so");
        let beside = own.with_file_name(format!("erring_disk.{}.so", std::process::id()));
        let mut cc = Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o"])
            .arg(&beside)
            .arg("-ldl")
            .stdin(Stdio::piped())
            .spawn()
            .expect("the C compiler `cc`, which building this project needs too");
        let mut source = cc.stdin.take().expect("a pipe");
        source.write_all(SOURCE.as_bytes()).expect("cc reads");
        drop(source);
        assert!(cc.wait().expect("cc").success(), "the erring disk can't be built");
        // Other test processes may be using the old one: a rename leaves it to them.
        std::fs::rename(&beside, &library).expect("the library");
        library
    };
    LIBRARY.get_or_init(build).clone()
}

/// One kind of call, as the rules name it, and a way to make it through `std`.
type Probe = (&'static str, fn(&Path) -> std::io::Result<()>);

/// Every way in which this project's processes use a disk.
const PROBES: &[Probe] = &[
    ("open", |folder| std::fs::File::open(folder.join("file")).map(drop)),
    ("open", |folder| std::fs::File::create(folder.join("new")).map(drop)),
    ("read", |folder| std::fs::read(folder.join("file")).map(drop)),
    ("read", |folder| {
        let file = std::fs::File::open(folder.join("file"))?;
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut [0; 2], 1)
    }),
    ("write", |folder| std::fs::write(folder.join("new"), b"text")),
    ("write", |folder| writable(folder)?.set_len(2)),
    ("sync", |folder| writable(folder)?.sync_all()),
    ("sync", |folder| writable(folder)?.sync_data()),
    ("sync", |folder| std::fs::File::open(folder)?.sync_all()),
    ("rename", |folder| std::fs::rename(folder.join("file"), folder.join("file"))),
    ("rename", |folder| {
        std::fs::hard_link(folder.join("file"), folder.join("linked"))?;
        std::fs::remove_file(folder.join("linked"))
    }),
    ("mkdir", |folder| std::fs::create_dir_all(folder.join("some/folder"))),
    ("unlink", |folder| std::fs::remove_file(writable(folder).map(|_| folder.join("new"))?)),
    ("unlink", |folder| std::fs::remove_dir_all(folder.join("full"))),
    ("readdir", |folder| std::fs::read_dir(folder)?.try_for_each(|entry| entry.map(drop))),
    ("stat", |folder| std::fs::metadata(folder.join("file")).map(drop)),
    ("stat", |folder| std::fs::symlink_metadata(folder.join("file")).map(drop)),
    ("stat", |folder| folder.join("file").try_exists().map(drop)),
    ("stat", |folder| writable(folder)?.metadata().map(drop)),
];

fn writable(folder: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::File::options();
    options.create(true).truncate(false).write(true).open(folder.join("new"))
}

/// Makes the probe of this number in a folder that [`prepare`] filled, and prints its error.
pub fn main(args: &[String]) {
    let [folder, number] = args else { panic!("{WORD} FOLDER NUMBER") };
    let (_, probe) = PROBES[number.parse::<usize>().expect("a number")];
    let said = probe(Path::new(folder)).map_or_else(|error| error.to_string(), |()| String::new());
    writeln!(std::io::stdout(), "{said}").expect("standard output");
}

/// Puts into a folder what the probes need.
pub fn prepare(folder: &Path) {
    std::fs::create_dir_all(folder.join("full/of")).expect("folders");
    std::fs::write(folder.join("file"), b"text").expect("a file");
}

/// The kinds of all probes, by their numbers.
pub fn probes() -> impl Iterator<Item = &'static str> {
    PROBES.iter().map(|(kind, _)| *kind)
}
