//! The program under test as a binary of this package, so that `cargo test` never runs a stale one.

use std::process::ExitCode;

#[expect(clippy::disallowed_methods, reason = "stands in for the program's own main")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|word| word == harness::proxy::WORD) {
        harness::proxy::main(&args[1..]);
        return ExitCode::SUCCESS;
    }
    if args.first().is_some_and(|word| word == harness::erring_disk::WORD) {
        harness::erring_disk::main(&args[1..]);
        return ExitCode::SUCCESS;
    }
    let environment = alexnet::Environment::read(|name| std::env::var_os(name));
    alexnet::run(std::env::args_os(), &environment)
}
