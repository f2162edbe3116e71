//! Whole lives of a small program: this test's own binary, run again as `echo`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use service::{Configuration, Service, Settings};

/// How long anything here may take on a busy machine before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(20);

struct Config {
    behaviour: String,
}

impl Configuration for Config {
    const METRICS_ADDR: &'static str = "127.0.0.1:0";

    fn read(settings: &mut Settings) -> Option<Self> {
        let behaviour = settings.read("ECHO", None, service::parse::text);
        settings.read("COUNT", Some("1"), service::parse::number(1..=9_u8))?;
        Some(Self { behaviour: behaviour? })
    }
}

async fn serve(config: Config, service: Service) -> anyhow::Result<()> {
    let ready = service.ready("echo");
    let stopping = service.stopping();
    match config.behaviour.as_str() {
        "drains" => {
            let token = stopping.clone();
            service.thread("drainer", move || {
                futures_block(token.cancelled());
                tracing::info!("thread drained");
                Ok(())
            })?;
            let token = stopping.clone();
            service.tasks().spawn(async move {
                token.cancelled().await;
                tracing::info!("task drained");
            });
        }
        "task panics" => drop(service.tasks().spawn(async { panic!("on purpose") })),
        "thread panics" => service.thread("encoder", || panic!("on purpose"))?,
        "serve panics" => panic!("on purpose"),
        "task fails" => service.spawn("poller", async { Err(anyhow::anyhow!("no broker")) }),
        "serve fails" => return Err(anyhow::anyhow!("connection refused").context("no broker")),
        "returns" => return Ok(()),
        "contains" => {
            let panicked = service::contain(async { panic!("on purpose") }).await;
            assert_eq!(panicked, Err::<(), _>(service::Panicked));
            return Ok(());
        }
        "hangs" => {
            ready.set();
            std::future::pending::<()>().await;
        }
        "blocks" => {
            ready.set();
            loop {
                std::thread::park();
            }
        }
        other => anyhow::bail!("unknown behaviour {other:?}"),
    }
    ready.set();
    stopping.cancelled().await;
    ready.clear("drained");
    Ok(())
}

fn futures_block(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(work);
}

/// Not a test of its own: the program that the others start.
#[test]
fn program() {
    if let Some(what) = std::env::var_os("ECHO_PROGRAM") {
        let code = match what.to_str() {
            Some("healthcheck") => service::healthcheck::<Config>("echo"),
            _ => service::run::<Config>("echo", serve),
        };
        let code = [0, 1, 64].into_iter().find(|known| ExitCode::from(*known) == code);
        std::process::exit(code.map_or(99, i32::from));
    }
}

struct Program {
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: String,
}

impl Program {
    fn start(variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "program", "--nocapture", "--test-threads=1"])
            .env_clear()
            .env("ECHO_PROGRAM", "1")
            .envs(variables.iter().copied())
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, stdout, log: String::new() }
    }

    /// Reads the log up to the line with `message`; gives that line.
    fn wait_for(&mut self, message: &str) -> String {
        let mut line = String::new();
        while self.stdout.read_line(&mut line).expect("a log") > 0 {
            self.log.push_str(&line);
            if line.contains(message) {
                return line;
            }
            line.clear();
        }
        panic!("{message:?} was never logged:\n{}", self.log);
    }

    fn started(&mut self) -> SocketAddr {
        let line = self.wait_for(r#""message":"started""#);
        let line = &line[line.find('{').expect("JSON")..];
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        line["metrics"].as_str().and_then(|text| text.parse().ok()).expect("an address")
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().try_into().expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("it is there");
    }

    /// The exit code, all that was logged, and what stands on stderr.
    fn end(mut self) -> (Option<i32>, String, String) {
        let deadline = Instant::now() + PATIENCE;
        let code = loop {
            match self.child.try_wait().expect("a child") {
                Some(status) => break status.code(),
                None if Instant::now() > deadline => panic!("did not end"),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        self.stdout.read_to_string(&mut self.log).expect("a log");
        let mut errors = String::new();
        let mut stderr = self.child.stderr.take().expect("piped");
        stderr.read_to_string(&mut errors).expect("errors");
        (code, std::mem::take(&mut self.log), errors)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn get_until(address: SocketAddr, path: &str, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = get(address, path);
        if answer.contains(wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "{path} never had {wanted:?}: {answer}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn sigterm_and_sigint_drain_and_end_well() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut program = Program::start(&[("ECHO", "drains")]);
        let address = program.started();
        get_until(address, "/readyz", "HTTP/1.1 200");
        get_until(address, "/livez", "HTTP/1.1 200");
        get_until(address, "/metrics", "gostocks_build_info{service=\"echo\",version=");
        get_until(address, "/metrics", "process_cpu_seconds_total");
        program.signal(signal);
        let (code, log, _) = program.end();
        assert_eq!(code, Some(0), "{log}");
        for line in ["thread drained", "task drained", r#""message":"stopped""#] {
            assert!(log.contains(line), "{log}");
        }
    }
}

#[test]
fn wrong_settings_end_with_64_before_a_port_is_bound() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let program = Program::start(&[("COUNT", "10"), ("LOG", "loud"), ("METRICS_ADDR", &address)]);
    let (code, log, errors) = program.end();
    assert_eq!(code, Some(64), "{log}{errors}");
    let lines: Vec<_> = errors.lines().collect();
    assert_eq!(
        lines,
        [
            "echo: LOG: expected error, warn, info, debug, trace or off, and target=level pairs, \
             separated by commas, found \"loud\"",
            "echo: ECHO is required, and is not set",
            "echo: COUNT: expected a whole number from 1 to 9, found \"10\"",
        ]
    );
}

#[test]
fn a_taken_port_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (code, log, _) = Program::start(&[("ECHO", "drains"), ("METRICS_ADDR", &address)]).end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(&format!("METRICS_ADDR: cannot listen on {address}: ")), "{log}");
}

#[test]
fn failures_and_panics_end_the_program_non_zero() {
    for (behaviour, message) in [
        ("task panics", "panicked: on purpose"),
        ("thread panics", "panicked: on purpose"),
        ("serve panics", "panicked: on purpose"),
        ("task fails", "failed: no broker"),
        ("serve fails", "failed: no broker: connection refused"),
    ] {
        let (code, log, _) = Program::start(&[("ECHO", behaviour)]).end();
        assert_eq!(code, Some(1), "{behaviour}: {log}");
        assert_eq!(log.matches(message).count(), 1, "{behaviour}: {log}");
    }
}

#[test]
fn a_return_and_a_contained_panic_end_well() {
    for behaviour in ["returns", "contains"] {
        let (code, log, _) = Program::start(&[("ECHO", behaviour)]).end();
        assert_eq!(code, Some(0), "{behaviour}: {log}");
    }
}

#[test]
fn a_drain_past_its_deadline_ends_with_1() {
    for behaviour in ["hangs", "blocks"] {
        let variables =
            [("ECHO", behaviour), ("SHUTDOWN_TIMEOUT", "100ms"), ("TOKIO_WORKER_THREADS", "1")];
        let mut program = Program::start(&variables);
        let address = program.started();
        get_until(address, "/readyz", "HTTP/1.1 200");
        program.signal(Signal::SIGTERM);
        let (code, log, _) = program.end();
        assert_eq!(code, Some(1), "{behaviour}: {log}");
        assert!(log.contains("not drained within SHUTDOWN_TIMEOUT, 100ms"), "{log}");
    }
}

#[test]
fn while_draining_it_is_alive_and_not_ready_and_a_second_signal_ends_it() {
    let mut program = Program::start(&[("ECHO", "hangs"), ("SHUTDOWN_TIMEOUT", "1h")]);
    let address = program.started();
    get_until(address, "/readyz", "HTTP/1.1 200");
    program.signal(Signal::SIGTERM);
    get_until(address, "/readyz", r#""missing":{"service":"stopping"}"#);
    get_until(address, "/livez", "HTTP/1.1 200");
    program.signal(Signal::SIGTERM);
    let (code, log, _) = program.end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("asked again: ending at once"), "{log}");
}

#[test]
fn a_healthcheck_says_whether_the_program_takes_work() {
    let check = |address: &str| {
        let variables = [("ECHO_PROGRAM", "healthcheck"), ("METRICS_ADDR", address)];
        let (code, _, errors) = Program::start(&variables).end();
        (code, errors)
    };
    let mut program = Program::start(&[("ECHO", "hangs"), ("SHUTDOWN_TIMEOUT", "1h")]);
    let address = program.started();
    get_until(address, "/readyz", "HTTP/1.1 200");
    assert_eq!(check(&address.to_string()), (Some(0), String::new()));
    // Whoever listens everywhere is asked at home.
    assert_eq!(check(&format!("0.0.0.0:{}", address.port())).0, Some(0));
    program.signal(Signal::SIGTERM);
    get_until(address, "/readyz", "HTTP/1.1 503");
    let (code, errors) = check(&address.to_string());
    assert_eq!(code, Some(1));
    assert!(errors.contains(r#""missing":{"service":"stopping"}"#), "{errors}");
    program.signal(Signal::SIGTERM);
    program.end();
    let (code, errors) = check(&address.to_string());
    assert_eq!(code, Some(1));
    assert!(errors.starts_with(&format!("echo: nobody answers at {address}: ")), "{errors}");
}
