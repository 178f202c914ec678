//! The program: hands the command line and the environment to the library; nothing else reads the
//! environment.

use std::process::ExitCode;

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn main() -> ExitCode {
    let environment = alexnet::Environment::read(|name| std::env::var_os(name));
    alexnet::run(std::env::args_os(), &environment)
}
