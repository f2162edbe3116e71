use std::process::ExitCode;

fn main() -> ExitCode {
    service::main_or::<processor::Config>(
        "processor",
        processor::serve,
        "rebuild",
        processor::rebuild,
    )
}
