use std::process::ExitCode;

fn main() -> ExitCode {
    service::run::<gateway::Config>("gateway", gateway::serve)
}
