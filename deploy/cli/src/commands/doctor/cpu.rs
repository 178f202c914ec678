//! The processor: cores that this process may use, vector instructions, and how busy it is.

use gpu_worker::backend::cpu::product_kernel;

use super::check::Check;

/// The processor, as the system describes it.
#[derive(Debug, Clone)]
pub(super) struct Cpu {
    model: String,
    /// Cores that affinity and control groups leave to this process.
    allowed: usize,
    /// Cores of the machine.
    cores: usize,
    /// The product library's kernel.
    kernel: &'static str,
    vectors: Vec<&'static str>,
    /// Runnable processes, on average over the last minute.
    load: Option<f64>,
}

impl Cpu {
    /// Asks the system.
    pub(super) fn probe() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let allowed = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = info.lines().filter(|line| line.starts_with("processor")).count();
        Self {
            model: model(&info),
            allowed,
            cores: cores.max(allowed),
            kernel: product_kernel(),
            vectors: vectors(),
            load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()),
        }
    }

    /// Judges it.
    pub(super) fn checks(&self) -> Vec<Check> {
        let model = Check::ok("cpu.model", format!("{}, {}", self.model, std::env::consts::ARCH));
        let mut checks = vec![model, self.judge_cores(), self.judge_vectors()];
        checks.extend(self.load.map(|load| self.judge_load(load)));
        checks
    }

    fn judge_cores(&self) -> Check {
        let text = match self.allowed < self.cores {
            true => format!("{} of the machine's {} may be used", self.allowed, self.cores),
            false => format!("{}, all may be used", self.allowed),
        };
        let check = Check::ok("cpu.cores", text)
            .number("allowed", self.allowed as f64)
            .number("cores", self.cores as f64);
        match (self.allowed, self.cores) {
            (1, 1) => check.look(
                "The two halves take turns on one core, so a step takes twice as long. Use a \
                 machine with two cores or more.",
            ),
            (1, _) => check.look(
                "The two halves take turns on one core, so a step takes twice as long. Allow this \
                 process more: see taskset -p, and a container's --cpus and --cpuset-cpus.",
            ),
            _ => check,
        }
    }

    fn judge_vectors(&self) -> Check {
        let have = match self.vectors.is_empty() {
            true => "none that this program uses".to_owned(),
            false => self.vectors.join(", "),
        };
        let text = format!("{have}; matrix products use \"{}\"", self.kernel);
        let check = Check::ok("cpu.vectors", text);
        match self.kernel {
            "scalar" => check.look(
                "Matrix products are many times slower without vector instructions. In a virtual \
                 machine, pass the host's processor through (QEMU: -cpu host).",
            ),
            _ => check,
        }
    }

    fn judge_load(&self, load: f64) -> Check {
        let text = format!("{load:.1} runnable processes on average over a minute");
        let check = Check::ok("cpu.load", text).number("load", load);
        // Even in a container, this is the load of the whole machine.
        if load <= self.cores as f64 {
            return check;
        }
        check.look(
            "The machine is busy: rates below are too low, and training shares the cores. Use top \
             to see what runs.",
        )
    }
}

fn model(info: &str) -> String {
    let value = |name| info.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    let found = value("model name").or_else(|| value("Model")).or_else(|| value("CPU part"));
    found.map_or_else(|| "unknown".to_owned(), |(_, model)| model.trim().to_owned())
}

/// Sets of vector instructions that this program has code for.
#[cfg(target_arch = "x86_64")]
fn vectors() -> Vec<&'static str> {
    let sets = [
        ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
        ("FMA", std::arch::is_x86_feature_detected!("fma")),
        ("AVX-512F", std::arch::is_x86_feature_detected!("avx512f")),
        ("AVX-512VL", std::arch::is_x86_feature_detected!("avx512vl")),
    ];
    sets.into_iter().filter(|(_, here)| *here).map(|(name, _)| name).collect()
}

/// Sets of vector instructions that this program has code for.
#[cfg(not(target_arch = "x86_64"))]
fn vectors() -> Vec<&'static str> {
    if product_kernel() == "neon" { vec!["NEON"] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    fn good() -> Cpu {
        Cpu {
            model: "A model".into(),
            allowed: 8,
            cores: 64,
            kernel: "fma",
            vectors: vec!["AVX2", "FMA"],
            load: Some(64.0),
        }
    }

    fn verdicts(cpu: &Cpu) -> Vec<Verdict> {
        cpu.checks().iter().map(|check| check.verdict).collect()
    }

    #[test]
    fn a_processor_with_cores_and_vectors_is_in_order() {
        assert_eq!(verdicts(&good()), [Verdict::Ok; 4]);
        let text = good().checks()[1].measured.clone();
        assert_eq!(text, "8 of the machine's 64 may be used");
    }

    #[test]
    fn one_core_is_looked_at_and_the_remedy_says_whether_there_are_more() {
        let limited = Cpu { allowed: 1, ..good() };
        let single = Cpu { allowed: 1, cores: 1, load: None, ..good() };
        for (cpu, remedy) in [(limited, "--cpus"), (single, "two cores or more")] {
            let cores = &cpu.checks()[1];
            assert_eq!(cores.verdict, Verdict::Look);
            assert!(cores.remedy.as_ref().is_some_and(|said| said.contains(remedy)), "{cores:?}");
        }
    }

    #[test]
    fn a_processor_without_vectors_is_looked_at() {
        let cpu = Cpu { kernel: "scalar", vectors: Vec::new(), ..good() };
        assert_eq!(verdicts(&cpu)[2], Verdict::Look);
    }

    #[test]
    fn a_busy_machine_is_looked_at() {
        assert_eq!(verdicts(&Cpu { load: Some(64.1), ..good() })[3], Verdict::Look);
    }

    #[test]
    fn the_model_is_found_under_each_of_its_names() {
        assert_eq!(model("processor\t: 0\nmodel name\t: AMD EPYC 9B45\n"), "AMD EPYC 9B45");
        assert_eq!(model("processor : 0\nModel : Raspberry Pi 5\n"), "Raspberry Pi 5");
        assert_eq!(model(""), "unknown");
    }
}
