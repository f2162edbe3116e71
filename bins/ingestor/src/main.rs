use std::process::ExitCode;

fn main() -> ExitCode {
    service::main::<ingestor::Config>("ingestor", ingestor::serve)
}
