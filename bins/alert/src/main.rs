use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => service::run::<alert::Config>("alert", alert::serve),
        ["rebuild"] => service::run::<alert::Config>("alert", alert::rebuild),
        _ => {
            eprintln!("alert: expected no argument, or `rebuild`, found {arguments:?}");
            ExitCode::from(64)
        }
    }
}
