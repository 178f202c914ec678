//! The machine code that NVRTC makes of the kernels: registers, shared memory, main loops.

use std::path::{Path, PathBuf};
use std::process::Command;

use gpu_worker::backend::cuda::Search;
use gpu_worker::backend::cuda::compile::Compiler;
use gpu_worker::backend::cuda::program::Program;

/// Architectures for which every kernel is compiled.
pub const ARCHITECTURES: [u32; 7] = [75, 80, 86, 89, 90, 100, 120];

/// A kernel's machine code.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Name of the kernel.
    pub name: String,
    /// Registers per thread.
    pub registers: u32,
    /// Bytes of local memory per thread, which holds what did not fit into registers.
    pub stack: u32,
    /// Bytes of shared memory per block.
    pub shared: u32,
    /// Instructions and labels in order, without the predicates of operands.
    code: Vec<Line>,
}

#[derive(Debug, Clone)]
enum Line {
    Label(String),
    Instruction(String),
}

/// The loop that performs the multiplications.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MainLoop {
    /// Number of instructions.
    pub instructions: usize,
    /// Number of fused multiply-adds.
    pub ffma: usize,
    /// Bytes per thread that are loaded from shared memory.
    pub shared_bytes: usize,
    /// Number of loads from shared memory of less than 128 bits.
    pub narrow_loads: usize,
}

impl MainLoop {
    /// Share of fused multiply-adds among the instructions.
    pub fn share(&self) -> f64 {
        self.ffma as f64 / self.instructions as f64
    }

    /// Fused multiply-adds per byte loaded from shared memory.
    pub fn ffma_a_byte(&self) -> f64 {
        self.ffma as f64 / self.shared_bytes as f64
    }
}

/// Compiles a program for one architecture and disassembles it.
///
/// # Panics
/// If the compiler or the tools fail.
pub fn of(tools: &Path, program: &Program, arch: u32) -> Vec<Kernel> {
    let search = Search { nvrtc: Some(tools.join("nvidia/cuda_nvrtc/lib")), ..Search::default() };
    let compiler = Compiler::new("test", arch, &search).expect("NVRTC knows it");
    let text = program.text(None).expect("built in");
    let compiled = compiler.compile(program.name, &text).expect("it compiles");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("kernels.cubin");
    std::fs::write(&file, compiled.cubin.expect("machine code")).expect("written");
    let bin = tools.join("nvidia/cu13/bin");
    let usage = said(&bin.join("cuobjdump"), &["-res-usage".as_ref(), file.as_ref()]);
    let code = said(&bin.join("nvdisasm"), &["-c".as_ref(), file.as_ref()]);
    let kernels = usage.split("Function ").skip(1).map(|part| {
        let name = part.split(':').next().expect("a name").to_owned();
        let number = |what: &str| -> u32 {
            let at = part.find(what).expect("a line of resources") + what.len();
            let digits = part[at..].chars().take_while(char::is_ascii_digit);
            digits.collect::<String>().parse().expect("a number")
        };
        let (registers, stack, shared) = (number(" REG:"), number(" STACK:"), number(" SHARED:"));
        let code = lines(&code, &name);
        Kernel { name, registers, stack, shared, code }
    });
    kernels.collect()
}

fn said(program: &PathBuf, args: &[&std::ffi::OsStr]) -> String {
    let output = Command::new(program).args(args).output().expect("the wheel's tool starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The lines of one kernel in nvdisasm's listing.
fn lines(listing: &str, name: &str) -> Vec<Line> {
    let begins = format!(".section\t.text.{name},");
    let code = listing.split(&begins).nth(1).expect("every kernel has code");
    let code = code.split("\n\t.section\t").next().unwrap_or(code);
    let parsed = code.lines().filter_map(|line| {
        let line = line.trim();
        if let Some(label) = line.strip_suffix(':') {
            return Some(Line::Label(label.to_owned()));
        }
        let (_, instruction) = line.strip_prefix("/*")?.split_once("*/")?;
        let instruction = instruction.trim().split(';').next()?.trim();
        // @!P0 and the like.
        let bare = match instruction.strip_prefix('@') {
            Some(predicated) => predicated.split_once(' ')?.1.trim(),
            None => instruction,
        };
        Some(Line::Instruction(bare.to_owned()))
    });
    parsed.collect()
}

impl Kernel {
    /// The loop with the most multiplications.
    pub fn main_loop(&self) -> Option<MainLoop> {
        let loops = self.code.iter().enumerate().filter_map(|(end, line)| {
            let Line::Instruction(branch) = line else { return None };
            let target = branch.strip_prefix("BRA")?.split("`(").nth(1)?.split(')').next()?;
            let is_target = |line: &Line| matches!(line, Line::Label(label) if label == target);
            let start = self.code[..end].iter().position(is_target)?;
            Some(count(&self.code[start..=end]))
        });
        loops.max_by_key(|main| main.ffma).filter(|main| main.ffma > 0)
    }

    /// Number of blocks of `threads` threads that fit on a multiprocessor of this architecture.
    pub fn resident(&self, arch: u32, threads: u32) -> u32 {
        // CUDA programming guide, technical specifications: threads, and KB of shared memory.
        let (most_threads, most_shared) = match arch {
            75 => (1024, 64),
            80 => (2048, 164),
            86 | 89 | 120 => (1536, 100),
            _ => (2048, 228),
        };
        let by_registers = 65_536 / (self.registers.next_multiple_of(8) * threads);
        // sm_80 and later keep one KB a block for themselves; cuobjdump counts it from sm_90 on.
        let own = if (80..90).contains(&arch) { 1024 } else { 0 };
        let by_shared = (most_shared * 1024u32).checked_div(self.shared + own);
        by_registers.min(by_shared.unwrap_or(32)).min(most_threads / threads)
    }
}

fn count(code: &[Line]) -> MainLoop {
    let mut main = MainLoop { instructions: 0, ffma: 0, shared_bytes: 0, narrow_loads: 0 };
    for line in code {
        let Line::Instruction(instruction) = line else { continue };
        main.instructions += 1;
        let operation = instruction.split(' ').next().unwrap_or_default();
        if operation.starts_with("FFMA") {
            main.ffma += 1;
        }
        if operation == "LDS" || operation.starts_with("LDS.") {
            let bits = if operation.ends_with("128") {
                128
            } else if operation.ends_with("64") {
                64
            } else {
                32
            };
            main.shared_bytes += bits / 8;
            main.narrow_loads += usize::from(bits < 128);
        }
    }
    main
}
