//! Loaders that are slow, hang or lie beside one that does not: training continues at the pace of
//! the good ones, with the same bits, and the bad ones are named.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::program;
use coordinator::Until;
use harness::cluster::{Cluster, shards};
use harness::erring_disk::ErringDisk;
use harness::liar::{half, liar, reversed};
use harness::process::{ENDLESS, last_step, signal, wait};
use harness::roles::{Machine, Running};
use harness::scrape::{page, parse};

use crate::trust::{coordinator, says, text, worker};

/// Pictures for training; a minibatch has 16.
const PICTURES: u32 = 200;

/// A run of real processes on prepared pictures, and a disk for each loader.
struct Run {
    folder: tempfile::TempDir,
    machine: Machine,
    data: PathBuf,
    metrics: String,
    coordinator: Running,
    workers: Vec<Running>,
}

/// A loader, and the disk from which it reads.
struct Reader {
    loader: Running,
    disk: ErringDisk,
}

impl Reader {
    /// Each picture takes this long from now on.
    fn delay(&self, ms: u64) {
        self.disk.rules(&[&format!("read every delay:{ms} train")]);
    }

    /// Number of training pictures read.
    fn reads(&self) -> usize {
        self.disk.hits()
    }
}

impl Run {
    /// The coordinator of a run of so many steps; workers begin later.
    fn new(steps: u64) -> Self {
        Self::with(steps, &[])
    }

    /// As [`Self::new`], with more arguments for the coordinator.
    fn with(steps: u64, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::here(program(), folder.path());
        let data = prepared(folder.path());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let metrics = port.local_addr().unwrap().to_string();
        drop(port);
        let steps = steps.to_string();
        let own = ["--steps", &steps, "--checkpoint-every", "1000", "--metrics", &metrics];
        let more = [&own[..], more].concat();
        let coordinator = coordinator(&machine, folder.path(), "127.0.0.1:0", &more);
        Self { folder, machine, data, metrics, coordinator, workers: Vec::new() }
    }

    /// A loader that takes so long for each picture.
    fn loader(&self, name: &str, delay_ms: u64) -> Reader {
        let beside = self.folder.path().join(name);
        std::fs::create_dir(&beside).unwrap();
        let disk = ErringDisk::new(&self.data, &beside);
        let machine = self.machine.with(disk.environment());
        let (at, data) = (self.coordinator.address.as_str(), text(&self.data));
        disk.rules(&[&format!("read every delay:{delay_ms} train")]);
        let args = ["loader", "--coordinator", at, "--data", data, "--threads", "1"];
        let loader = machine.start(name, &args);
        loader.wait_for("loader joined the run");
        Reader { loader, disk }
    }

    fn workers(&mut self, more: &[&str]) {
        for name in ["half-a", "half-b"] {
            let at = &self.coordinator.address;
            self.workers.push(worker(&self.machine, name, at, more));
        }
    }

    fn last_step(&self) -> u64 {
        last_step(&self.folder.path().join("run"))
    }

    fn wait_for_step(&self, step: u64) {
        wait(&format!("step {step}"), || self.last_step() >= step);
    }

    /// Time from the end of the first step to the end of this one; `halfway` is called meanwhile.
    fn time_to(&self, step: u64, halfway: impl FnOnce()) -> Duration {
        self.wait_for_step(1);
        let began = Instant::now();
        self.wait_for_step(step / 2);
        halfway();
        self.wait_for_step(step);
        began.elapsed()
    }

    fn status(&self) -> String {
        self.machine.run(&["status", &self.coordinator.address]).1
    }

    /// Everyone ends well, with the bits of an undisturbed run of the same pictures.
    fn ends(self, loaders: Vec<Reader>, steps: u64) {
        let log = self.coordinator.log();
        let loaders = loaders.into_iter().map(|reader| reader.loader);
        for role in self.workers.into_iter().chain(loaders).chain([self.coordinator]) {
            let own = role.log();
            assert!(role.end().success(), "{own}\n{log}");
        }
        let mut calm = Cluster::small(&self.folder.path().join("calm"));
        calm.data = text(&self.data).parse().unwrap();
        calm.until = Until::Steps(steps);
        calm.run();
        assert!(calm.shards(steps) == shards(&self.folder.path().join("run"), steps), "other bits");
    }
}

/// Prepared pictures in ten classes, few of them for validation.
fn prepared(folder: &Path) -> PathBuf {
    let pictures = folder.join("pictures");
    for (split, n) in [("train", PICTURES / 10), ("val", 1)] {
        for class in 0..10_u32 {
            let at = pictures.join(format!("{split}/class{class}"));
            std::fs::create_dir_all(&at).unwrap();
            for i in 0..n {
                let color = |x, y| [x * (class + 1) + i * 37, y * 3 + i, x + y].map(|v| v as u8);
                let picture = image::RgbImage::from_fn(72, 72, |x, y| image::Rgb(color(x, y)));
                picture.save(at.join(format!("{i}.png"))).unwrap();
            }
        }
    }
    let prepared = folder.join("prepared");
    let machine = Machine::here(program(), folder);
    let (well, said) = machine.run(&["prepare", text(&pictures), text(&prepared), "--side", "72"]);
    assert!(well, "{said}");
    prepared
}

/// One lies, one is twenty times as slow, one is right; both bad ones are named everywhere. For
/// comparison, a second run trains with a right loader alone, at the same time, so that other load
/// on the machine slows both.
#[test]
fn beside_a_slow_loader_and_one_that_lies_training_keeps_the_pace_of_the_right_one() {
    let steps = 100;
    let mut alone = Run::new(steps);
    let only = alone.loader("right", 8);
    let mut run = Run::new(steps);
    let slow = run.loader("slow", 160);
    let mut lies = liar(&run.coordinator.address, text(&run.data), half);
    let right = run.loader("right", 8);
    let (mut status, mut metrics) = (String::new(), None);
    alone.workers(&[]);
    run.workers(&[]);
    let (undisturbed, took) = std::thread::scope(|scope| {
        let undisturbed = scope.spawn(|| alone.time_to(steps, || ()));
        let took = run.time_to(steps, || {
            (status, metrics) = (run.status(), page(&run.metrics));
        });
        (undisturbed.join().unwrap(), took)
    });
    alone.ends(vec![only], steps);
    let (log, metrics) = (run.coordinator.log(), parse(&metrics.unwrap()));
    let pace = undisturbed.as_secs_f64() / took.as_secs_f64();
    eprintln!("{undisturbed:.1?} alone, {took:.1?} beside the bad ones: {:.0} %", 100.0 * pace);

    let liar = format!("loader {} is not asked any more: it sent 8 images", lies.address);
    says(&log, &[&liar, &format!("loader {} is too slow", slow.loader.address)]);
    says(&status, &[&format!("{}, refused: it sent 8 images", lies.address)]);
    says(&status, &[&format!("{}, slow: ", slow.loader.address), &liar]);
    for (metric, of) in [("refused", &lies.address), ("slow", &slow.loader.address)] {
        let value =
            |address: &str| metrics[&format!("alexnet_loader_{metric}{{loader=\"{address}\"}}")];
        assert_eq!((value(of), value(&right.loader.address)), (1.0, 0.0), "{metric}");
    }
    assert!(pace > 0.8, "{pace:.2}: see the figures above");
    lies.ask_to_stop();
    run.ends(vec![slow, right], steps);
}

/// No loader is left: the run ends, and says what each of them did.
#[test]
fn a_run_whose_loaders_all_lie_ends_and_names_each() {
    let mut run = Run::new(20);
    let liars = [half, reversed].map(|lie| liar(&run.coordinator.address, text(&run.data), lie));
    wait("both loaders", || liars.iter().all(|liar| run.status().contains(&liar.address)));
    run.workers(&[]);
    let coordinator = run.coordinator;
    wait("the end", || coordinator.log().contains("expected 16"));
    let log = &self::log_of_end(coordinator);
    says(log, &["8 images", "as image 0", &liars[0].address, &liars[1].address]);
    for liar in liars {
        liar.join();
    }
}

fn log_of_end(role: Running) -> String {
    let file = role.log_file();
    assert!(!role.end().success());
    std::fs::read_to_string(file).unwrap()
}

/// A minibatch takes a second, and a loader may be silent for half of one: it works, so it is
/// waited for, and nothing that it has read is read again.
#[test]
fn a_slow_loader_that_is_alone_is_waited_for_and_reads_nothing_twice() {
    let steps = 5;
    let mut run = Run::new(steps);
    let slow = run.loader("slow", 60);
    run.workers(&["--data-deadline", "2"]);
    let took = run.time_to(steps, || ());
    let needed = 16 * steps as usize;
    eprintln!("{took:.1?} for 4 steps; {} reads of {needed} needed pictures", slow.reads());
    assert!(slow.reads() <= needed + 4 * 16, "{} reads", slow.reads());
    assert!(!run.coordinator.log().contains("returning"), "{}", run.coordinator.log());
    run.ends(vec![slow], steps);
}

/// The disk of one loader stops answering; later it answers again.
#[test]
fn a_loader_whose_disk_hangs_is_put_aside_and_comes_back_with_its_disk() {
    let mut run = Run::with(1_000_000, &ENDLESS[2..]);
    let readers = [run.loader("one", 0), run.loader("other", 0)];
    run.workers(&[]);
    run.wait_for_step(20);
    let hangs = &readers[0];
    let address = &hangs.loader.address;
    hangs.delay(4_000);
    let since = Instant::now();
    run.coordinator.wait_for(&format!("loader {address} is too slow"));
    let noticed = since.elapsed();
    let step = run.last_step();
    run.wait_for_step(step + 20);
    eprintln!("noticed after {noticed:.1?}, 20 steps later after {:.1?}", since.elapsed());
    assert!(run.status().contains(&format!("{address}, slow: ")), "{}", run.status());
    hangs.delay(0);
    run.coordinator.wait_for(&format!("loader {address} is fast enough again"));
    let reads = hangs.reads();
    wait("its pictures", || hangs.reads() > reads + 100);
    assert!(!run.status().contains(&format!("{address}, slow: ")), "{}", run.status());
    signal(run.coordinator.pid(), "TERM");
    for role in run.workers.into_iter().chain([run.coordinator]) {
        assert!(role.end().success());
    }
}

/// Each loader makes ahead what it will be asked for, so that two are twice as fast as one.
#[test]
fn with_more_loaders_no_picture_is_read_twice_and_training_is_faster() {
    // A minibatch takes a loader 320 ms, several times a step of a busy machine.
    let steps = 80;
    let mut times = Vec::new();
    for n in [1, 2, 3, 5] {
        let mut run = Run::new(steps);
        let readers: Vec<_> = (0..n).map(|i| run.loader(&format!("loader-{i}"), 20)).collect();
        run.workers(&[]);
        let took = run.time_to(steps, || ());
        let needed = 16 * steps as usize;
        run.coordinator.wait_for("finished after step");
        let reads: usize = readers.iter().map(Reader::reads).sum();
        let share = reads as f64 / needed as f64;
        eprintln!("{n} loaders: {took:.1?}, {reads} reads of {needed} needed: {share:.3}");
        assert!(share <= 1.15, "{share}");
        run.ends(readers, steps);
        times.push(took.as_secs_f64());
    }
    assert!(times[1] < 0.8 * times[0], "{times:?}");
}
