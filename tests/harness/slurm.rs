//! A Slurm cluster of three nodes, all on this machine: a controller and three node daemons, as a
//! site has them, with real jobs in them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::process::{lives, signal, wait};

/// Number of nodes, which are called n1, n2 and n3. Jobs run their script on the first of theirs.
pub const NODES: usize = 3;
/// Folder of Debian's step daemon, which a node daemon on its own would look for elsewhere.
const STEP_DAEMON: &str = "/usr/sbin/slurmstepd";

/// The cluster; its daemons and jobs end when this value is dropped.
#[derive(Debug)]
pub struct Slurm {
    folder: tempfile::TempDir,
    controller: Child,
    /// Node daemons; `None`: lost.
    nodes: Mutex<Vec<Option<Child>>>,
}

impl Slurm {
    /// Starts a cluster, or says why there is none.
    ///
    /// # Errors
    /// A sentence, if Slurm is not installed.
    pub fn start() -> Result<Self, String> {
        let missing = ["slurmctld", "slurmd", "srun"]
            .into_iter()
            .find(|name| Command::new(name).arg("-V").output().is_err());
        if let Some(name) = missing {
            return Err(format!("no {name}: apt-get install slurmctld slurmd slurm-client"));
        }
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["state", "spool", "log", "private"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let write = |name, text: &str| std::fs::write(folder.path().join(name), text);
        write("slurm.conf", &configuration(folder.path())).expect("a configuration");
        // Slurm believes that each node has a GPU.
        write("gres.conf", "AutoDetect=off\nName=gpu File=/dev/null\n").expect("a configuration");
        let controller = daemon(folder.path(), "slurmctld", &["-D"]);
        let slurm = Self { folder, controller, nodes: Mutex::default() };
        *slurm.nodes() = (1..=NODES).map(|n| Some(slurm.node(n))).collect();
        slurm.wait_for_nodes(NODES);
        Ok(slurm)
    }

    /// The cluster's own folder: the same on all nodes but for `private`, which the last does not
    /// see.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs one of Slurm's commands; returns what it prints.
    pub fn ask(&self, command: &str, args: &[&str]) -> String {
        let Output { stdout, stderr, .. } =
            self.command(command).args(args).output().expect("runs");
        String::from_utf8_lossy(&[stdout, stderr].concat()).trim().to_owned()
    }

    /// Submits a batch script with `options` of sbatch and arguments of the script; returns the
    /// job's number.
    pub fn submit(
        &self,
        options: &[&str],
        script: &Path,
        args: &[String],
        environment: &[(&str, String)],
    ) -> String {
        let mut command = self.command("sbatch");
        command.arg("--parsable").args(options).arg(script).args(args);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let output = command.output().expect("sbatch runs");
        let number = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        number
    }

    /// The state of a job, such as `RUNNING`.
    pub fn state(&self, job: &str) -> String {
        let shown = self.ask("scontrol", &["show", "job", job]);
        let state = shown.split_once("JobState=").and_then(|(_, rest)| rest.split(' ').next());
        state.unwrap_or("unknown").to_owned()
    }

    /// Waits for the end of a job; returns its state.
    pub fn end(&self, job: &str) -> String {
        let is_over = |state: &str| {
            ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"].contains(&state)
        };
        wait(&format!("end of job {job}"), || is_over(&self.state(job)));
        self.state(job)
    }

    /// A node loses its power: its daemon, its steps and everything in them end at once.
    pub fn lose(&self, node: usize) {
        let daemon = self.nodes()[node - 1].take().expect("a node that is there");
        let tasks = self.processes(|environment| has(environment, "SLURMD_NODENAME", &name(node)));
        let mut all = vec![daemon.id()];
        all.extend(tasks.iter().filter_map(|pid| parent(*pid)).filter(|pid| is_step(*pid)));
        all.extend(tasks);
        let all: Vec<_> = all.iter().map(u32::to_string).collect();
        // One that has just ended makes `kill` fail after it has sent to the others.
        let _ = Command::new("kill").arg("-KILL").args(all).stderr(Stdio::null()).status();
        reap(daemon);
    }

    /// The processes of one role that run now, such as `loader`.
    pub fn role(&self, role: &str) -> Vec<u32> {
        let of_role = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).nth(1) == Some(role.as_bytes())
        };
        let mut found = self.processes(|_| true);
        found.retain(of_role);
        found
    }

    /// Processes on this cluster whose environment is as wanted.
    fn processes(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u32> {
        let configuration = self.folder.path().join("slurm.conf").display().to_string();
        let all = std::fs::read_dir("/proc").expect("processes");
        let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            has(&environment, "SLURM_CONF", &configuration)
                && wanted(&environment)
                && *pid != self.controller.id()
                && lives(*pid)
        })
        .collect()
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Option<Child>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_nodes(&self, n: usize) {
        wait("idle nodes", || {
            let idle = self.ask("sinfo", &["--noheader", "--Node", "--states=idle"]);
            idle.lines().count() == n
        });
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("SLURM_CONF", self.folder.path().join("slurm.conf")).env("NO_COLOR", "1");
        command.env_remove("ALEXNET_CERTS").env_remove("RUST_LOG").current_dir(self.folder.path());
        command
    }

    /// Starts a node daemon. The last one has another disk at `private`, if this machine lets it.
    fn node(&self, n: usize) -> Child {
        let spool = self.folder.path().join("spool").join(name(n));
        std::fs::create_dir_all(spool).expect("a folder");
        let own = ["-D", "-N", &name(n), "-d", STEP_DAEMON];
        if n < NODES || !can_unshare() {
            return daemon(self.folder.path(), "slurmd", &own);
        }
        let private = self.folder.path().join("private").display().to_string();
        let start = "mount -t tmpfs none \"$0\" && exec slurmd \"$@\"";
        let alone = [&["--mount", "sh", "-c", start, &private], &own[..]].concat();
        daemon(self.folder.path(), "unshare", &alone)
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        self.ask("scancel", &["--user=root"]);
        let daemons: Vec<_> = self.nodes().drain(..).flatten().collect();
        for daemon in daemons {
            signal(daemon.id(), "KILL");
            reap(daemon);
        }
        for pid in self.processes(|_| true) {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
        let _ = self.controller.kill();
        let _ = self.controller.wait();
    }
}

/// Returns true if a process of this machine can have mounts of its own.
pub fn can_unshare() -> bool {
    let mut mount = Command::new("unshare");
    mount.args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);
    mount.output().is_ok_and(|output| output.status.success())
}

fn name(node: usize) -> String {
    format!("n{node}")
}

fn reap(mut child: Child) {
    let _ = child.wait();
}

fn daemon(folder: &Path, program: &str, args: &[&str]) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log/daemons"));
    let log = log.expect("a log");
    let mut command = Command::new(program);
    command.args(args).env("SLURM_CONF", folder.join("slurm.conf")).stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a log")).stderr(log);
    command.spawn().expect("a daemon")
}

/// Returns true if an environment, as in `/proc`, has this variable with this value.
fn has(environment: &[u8], variable: &str, value: &str) -> bool {
    let wanted = format!("{variable}={value}");
    environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

fn is_step(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == "slurmstepd")
}

/// Ports that are free now, for programs that can't choose one and say which.
pub fn free_ports(n: usize) -> Vec<u16> {
    let listeners: Vec<_> =
        (0..n).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|one| one.local_addr().expect("an address").port()).collect()
}

fn configuration(folder: &Path) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    let (host, dir) = (host.trim(), PathBuf::from(folder));
    let ports = free_ports(NODES + 1);
    let mut text = format!(
        "ClusterName=test\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={}\nSlurmUser=root\n\
         AuthType=auth/none\nAuthInfo=cred_expire=5\nCredType=cred/none\nMpiDefault=none\n\
         ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nGresTypes=gpu\nSelectType=select/cons_tres\nSelectTypeParameters=CR_Core\n\
         SwitchType=switch/none\nReturnToService=2\nSlurmdTimeout=20\nKillWait=5\nJobRequeue=1\n\
         SchedulerParameters=sched_interval=3,bf_interval=3,batch_sched_delay=0\n",
        ports[0]
    );
    for (key, value) in [
        ("StateSaveLocation", "state"),
        ("SlurmdSpoolDir", "spool/%n"),
        ("SlurmctldPidFile", "state/controller.pid"),
        ("SlurmdPidFile", "spool/%n.pid"),
        ("SlurmctldLogFile", "log/controller"),
        ("SlurmdLogFile", "log/%n"),
    ] {
        text += &format!("{key}={}\n", dir.join(value).display());
    }
    for (n, port) in (1..).zip(&ports[1..]) {
        text += &format!(
            "NodeName={} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 \
             RealMemory=100 Gres=gpu:1\n",
            name(n)
        );
    }
    text + &format!("PartitionName=all Nodes=n[1-{NODES}] Default=YES MaxTime=60 State=UP\n")
}
