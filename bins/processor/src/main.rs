use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => service::run::<processor::Config>("processor", processor::serve),
        ["rebuild"] => service::run::<processor::Config>("processor", processor::rebuild),
        _ => {
            eprintln!("processor: expected no argument, or `rebuild`, found {arguments:?}");
            ExitCode::from(64)
        }
    }
}
