use std::process::ExitCode;

fn main() -> ExitCode {
    service::run::<ingestor::Config>("ingestor", ingestor::serve)
}
