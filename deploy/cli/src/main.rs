//! The program: hands the command line and `RUST_LOG` to the library; nothing else reads the
//! environment.

use std::process::ExitCode;

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn main() -> ExitCode {
    alexnet::run(std::env::args_os(), std::env::var("RUST_LOG").ok())
}
