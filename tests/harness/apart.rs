//! A run whose processes are started one by one, as on several machines: under TLS, every loader
//! and worker behind cables that can be cut. Who ends is started again until the run is finished,
//! as service managers do.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant, SystemTime};

use net::Trust;

use crate::certs::{certificates, renew};
use crate::cluster;
use crate::erring_disk::ErringDisk;
use crate::liar::BadLoader;
use crate::process::{last_step, signal_all, sleep};
use crate::proxy::{Proxy, WORD};
use crate::roles::Machine;
use crate::schedule::{CHECKPOINT_EVERY, HUNG, LOOK_EVERY, Process, STEPS};
use crate::trouble::{TERMINATED, Trouble, kept};

/// Pictures of these runs.
const DATA: &str = "synthetic:72:200:40";
/// Shortest time between two starts of a process.
const START_EVERY: Duration = Duration::from_millis(300);
/// Validity of certificates that expire in mid-run.
const SOON: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The small network, trained by processes that were started one by one.
#[derive(Debug)]
pub(crate) struct Apart {
    machine: Machine,
    disk: ErringDisk,
    folder: PathBuf,
    certs: PathBuf,
    /// The coordinator first.
    roles: Vec<Supervised>,
    is_over: bool,
}

/// A process that is started again when it ends.
#[derive(Debug)]
struct Supervised {
    process: Process,
    args: Vec<String>,
    /// Output and log of all its starts begin with this path.
    path: PathBuf,
    starts: usize,
    started: Instant,
    running: Option<Child>,
    /// Address of the running process, once it listens.
    address: Option<String>,
    /// Cables to the coordinator and to this process; the coordinator itself has none.
    cables: Option<[Proxy; 2]>,
}

impl Apart {
    /// Starts all processes in `folder`; the run directory is `folder/run`.
    pub(crate) fn start(program: &str, folder: &Path) -> Result<Self, String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let disk = ErringDisk::new(&folder.join("run"), folder);
        let machine = Machine::here(program, folder).with(disk.environment());
        let certs = certificates(folder, "certs");
        let recipe = folder.join("small.toml");
        std::fs::write(&recipe, crate::small::recipe().to_toml()).expect("a recipe file");
        let of = |process, kind: &str, own: &[&str]| {
            let mut args = [kind, "--listen", "127.0.0.1:0", "--certs"].map(String::from).to_vec();
            args.push(text(&certs));
            args.extend(own.iter().map(|arg| (*arg).to_string()));
            let cables = (kind != "coordinator").then(|| {
                let cable = || Proxy::start(machine.command(&[WORD, "127.0.0.1:0"]));
                let cables = [cable(), cable()];
                let [to_coordinator, to_this] = cables.each_ref().map(|c| c.address.as_str());
                args.extend(
                    ["--coordinator", to_coordinator, "--advertise", to_this].map(String::from),
                );
                cables
            });
            let path = folder.join(format!("{process:?}"));
            let (running, address) = (None, None);
            let started = Instant::now();
            Supervised { process, args, path, starts: 0, started, running, address, cables }
        };
        let (run, steps) = (text(&folder.join("run")), STEPS.to_string());
        let training = ["--run", &run, "--recipe", &text(&recipe), "--seed", "7"];
        let until = ["--steps", &steps, "--checkpoint-every", CHECKPOINT_EVERY, "--silence", "2"];
        let worker = ["--peer-deadline", "3", "--data-deadline", "10"];
        let roles = vec![
            of(Process::Coordinator, "coordinator", &[training, until].concat()),
            of(Process::Loader, "loader", &["--data", DATA]),
            of(Process::FirstWorker, "worker", &worker),
            of(Process::SecondWorker, "worker", &worker),
        ];
        let folder = folder.to_path_buf();
        let mut new = Self { machine, disk, folder, certs, roles, is_over: false };
        new.tend()?;
        Ok(new)
    }

    /// True once the coordinator has said that the run is finished.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The last step on record.
    pub(crate) fn last_step(&self) -> u64 {
        last_step(&self.folder.join("run"))
    }

    /// Length of `metrics.jsonl`, in bytes.
    pub(crate) fn metrics_bytes(&self) -> u64 {
        std::fs::metadata(self.folder.join("run/metrics.jsonl")).map_or(0, |file| file.len())
    }

    /// The last lines of every process.
    pub(crate) fn logs(&self) -> String {
        let last = |role: &Supervised| {
            let log = role.log();
            let lines: Vec<_> = log.lines().rev().take(12).collect();
            let lines: Vec<_> = lines.into_iter().rev().collect();
            format!("\n== {:?}, start {}\n{}", role.process, role.starts, lines.join("\n"))
        };
        self.roles.iter().map(last).collect()
    }

    /// Waits for a condition while processes that end are started again; false if the run counts
    /// as hung before.
    pub(crate) fn until(&mut self, is: impl Fn(&Self) -> bool) -> Result<bool, String> {
        let since = Instant::now();
        while !is(self) {
            if since.elapsed() > HUNG {
                return Ok(false);
            }
            self.tend()?;
            sleep(LOOK_EVERY);
        }
        Ok(true)
    }

    /// Lets this time pass; processes that end are started again.
    pub(crate) fn wait(&mut self, time: Duration) -> Result<(), String> {
        let since = Instant::now();
        self.until(|_| since.elapsed() >= time).map(drop)
    }

    /// Starts each process that is not running, and leads the cables to new addresses.
    fn tend(&mut self) -> Result<(), String> {
        let mut listening = None;
        for role in &mut self.roles {
            if let Some(status) = role.end() {
                let finished = role.process == Process::Coordinator && role.says_finished();
                role.check(status, finished)?;
                self.is_over |= finished;
                if role.process == Process::Coordinator {
                    role.check_kept(&self.folder.join("run"))?;
                }
            }
            let pause = role.starts > 0 && role.started.elapsed() < START_EVERY;
            if role.running.is_none() && !self.is_over && !pause {
                role.start(&self.machine);
            }
            if role.has_begun_to_listen() && role.process == Process::Coordinator {
                listening.clone_from(&role.address);
            }
        }
        if let Some(address) = listening {
            for cable in self.cables(Process::Coordinator) {
                cable.leads_to(&address, 0);
            }
        }
        Ok(())
    }

    /// Makes a trouble happen, and waits until it is over.
    pub(crate) fn strike(&mut self, trouble: &Trouble) -> Result<(), String> {
        match trouble {
            Trouble::Kill(who) => self.send(&[*who], "KILL"),
            Trouble::Terminate(who) => self.send(&[*who], "TERM"),
            Trouble::TerminateAll => self.send(&Process::ALL, "TERM"),
            Trouble::Stop(who, length) => {
                self.send(&[*who], "STOP");
                self.wait(*length)?;
                self.send(&[*who], "CONT");
            }
            Trouble::Disk(rule, length) => {
                self.disk.rules(&[rule]);
                self.wait(*length)?;
                self.disk.rules(&[]);
            }
            Trouble::Hole(who, length) => {
                self.cables(*who).for_each(Proxy::cut);
                self.wait(*length)?;
                self.cables(*who).for_each(Proxy::heal);
            }
            Trouble::Reset(who) => self.cables(*who).for_each(Proxy::reset),
            Trouble::BadLoader(badness, length) => {
                let (lie, late) = badness.lie();
                let trust = Trust::read(&self.certs, net::Role::Loader);
                let trust = trust.map_err(|error| error.to_string())?;
                let loader = BadLoader { trust, data: DATA.into(), lie, late };
                let Some(at) = self.roles[0].address.clone() else { return Ok(()) };
                let mut loader: cluster::Role<bool> = loader.start(&at);
                self.wait(*length)?;
                loader.ask_to_stop();
                loader.join();
            }
            Trouble::Expiry(who, length) => {
                renew(&self.certs, &net::Role::ALL, SystemTime::now() + SOON);
                self.wait(2 * SOON)?;
                self.send(&[*who], "KILL");
                self.wait(*length)?;
                renew(&self.certs, &net::Role::ALL, SystemTime::now() + DAY);
            }
        }
        Ok(())
    }

    fn send(&self, to: &[Process], signal: &str) {
        let roles = self.roles.iter().filter(|role| to.contains(&role.process));
        let pids: Vec<_> = roles.filter_map(|r| r.running.as_ref()).map(Child::id).collect();
        if !pids.is_empty() {
            // Not yet waited for, so that they exist even if they have ended.
            signal_all(&pids, signal);
        }
    }

    /// The cables of a process; the coordinator's are those of all others that lead to it.
    fn cables(&mut self, of: Process) -> impl Iterator<Item = &mut Proxy> {
        let cables = self.roles.iter_mut().filter_map(|r| Some((r.process, r.cables.as_mut()?)));
        cables.flat_map(move |(process, [to_coordinator, to_this])| {
            let all = of == Process::Coordinator || of == process;
            let own = of == process;
            [all.then_some(to_coordinator), own.then_some(to_this)].into_iter().flatten()
        })
    }

    /// Ends the others after the run; returns the number of starts beyond the first ones and of
    /// calls to the disk that failed.
    pub(crate) fn end(mut self) -> Result<(usize, usize), String> {
        // Those that were just being started don't know that the run is over.
        self.send(&Process::ALL, "TERM");
        let gone = |run: &Self| run.roles.iter().all(|role| role.running.is_none());
        match self.until(gone)? {
            true => {
                let starts = self.roles.iter().map(|role| role.starts - 1).sum();
                Ok((starts, self.disk.hits()))
            }
            false => Err(format!("not all end within {HUNG:?}: {}", self.logs())),
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        for child in self.roles.iter_mut().filter_map(|role| role.running.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Supervised {
    fn file(&self, kind: &str) -> PathBuf {
        self.path.with_added_extension(format!("{}.{kind}", self.starts))
    }

    fn start(&mut self, machine: &Machine) {
        self.starts += 1;
        self.started = Instant::now();
        let args: Vec<_> = self.args.iter().map(String::as_str).collect();
        let file = |kind| File::create(self.file(kind)).expect("a file for its output");
        let mut command = machine.command(&args);
        command.stdout(file("out")).stderr(file("log"));
        self.running = Some(command.spawn().expect("the program starts"));
    }

    fn read(&self, kind: &str) -> String {
        std::fs::read_to_string(self.file(kind)).unwrap_or_default()
    }

    fn log(&self) -> String {
        self.read("out") + &self.read("log")
    }

    /// True once for each start.
    fn has_begun_to_listen(&mut self) -> bool {
        if self.running.is_none() || self.address.is_some() {
            return false;
        }
        let out = self.read("out");
        let ready = out.lines().find_map(|line| line.strip_prefix("ready "));
        // The line may have arrived in part.
        self.address = ready.filter(|_| out.ends_with('\n')).map(Into::into);
        if let (Some(address), Some([_, to_this])) = (&self.address, &mut self.cables) {
            to_this.leads_to(address, 0);
        }
        self.address.is_some()
    }

    /// Exit status of a process that has ended since the last look.
    fn end(&mut self) -> Option<ExitStatus> {
        let status = self.running.as_mut()?.try_wait().expect("a child")?;
        (self.running, self.address) = (None, None);
        Some(status)
    }

    fn says_finished(&self) -> bool {
        self.read("out").lines().any(|line| line == "finished" || line == "already finished")
    }

    /// An early end has a reason: a signal, a request to stop, or an error that is said.
    fn check(&self, status: ExitStatus, finished: bool) -> Result<(), String> {
        let asked = status.code().is_none_or(|code| code == TERMINATED);
        let reason = finished || status.success() || asked;
        match reason || self.log().to_lowercase().contains("error") {
            true => Ok(()),
            false => Err(format!("{status} without a reason: {}", self.log())),
        }
    }

    /// Checks that every checkpoint that the log reports as kept is there, or a later one.
    fn check_kept(&self, run: &Path) -> Result<(), String> {
        let step = |line: &str| {
            let step = line.split_once("checkpoint kept")?.1.split_once("step=")?.1;
            step.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
        };
        let log = self.read("log");
        match log.lines().filter_map(step).max() {
            Some(step) if kept(run).unwrap_or(0) < step => {
                let kept = kept(run);
                Err(format!("step {step} was kept, the newest checkpoint is {kept:?}: {log}"))
            }
            _ => Ok(()),
        }
    }
}
