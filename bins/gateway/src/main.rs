use std::process::ExitCode;

fn main() -> ExitCode {
    service::main::<gateway::Config>("gateway", gateway::serve)
}
