use std::process::ExitCode;

fn main() -> ExitCode {
    service::main_or::<alert::Config>("alert", alert::serve, "rebuild", alert::rebuild)
}
