use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use servers::install::{Purpose, install};
use servers::kafka::Distribution;
use servers::{ProcessId, Running, postgresql};

use crate::build::{BUILT, Profile, build};
use crate::catalogue::{GATEWAY, KAFKA, Member, POSTGRESQL, REDIS, member};
use crate::cli::Up;
use crate::feed::Feed;
use crate::ledger::{Ledger, end};
use crate::paths::Paths;
use crate::plan::{Layout, Run, Unit};
use crate::settings::Settings;
use crate::state::{Entry, State};
use crate::ui::{Ui, print};
use crate::{first_price, signals, status};

/// For one server or service, on a machine that is busy with a build.
const PATIENCE: Duration = Duration::from_secs(60);
const WATCH_EVERY: Duration = Duration::from_millis(300);

pub(crate) fn run(paths: &Paths, options: &Up) -> anyhow::Result<ExitCode> {
    let ui = Ui::new();
    let settings = Settings::load(&paths.root);
    let ledger = Ledger::open(paths)?;
    signals::end_on_interrupt(&ledger, &ui)?;
    let layout = Layout::decide(paths, &settings, &ledger.book().state, options.rate)?;
    if let Err(error) = bring_up(paths, &settings, &layout, &ledger, &ui) {
        let mut book = ledger.book();
        if !book.started().is_empty() {
            ui.say("that did not work: ending what was started here");
            book.end_started(&ui)?;
        }
        return Err(error);
    }
    let mut book = ledger.book();
    book.settle();
    print(&format!("\n{}\n{}\n", status::table(&book.state), to_try(&layout)));
    if options.detach {
        print("`cargo stack down` ends it.\n");
        return Ok(ExitCode::SUCCESS);
    }
    let mine: BTreeMap<&str, ProcessId> = book
        .started()
        .iter()
        .filter_map(|name| Some((*name, book.state.entries.get(*name)?.process?)))
        .collect();
    drop(book);
    match mine.is_empty() {
        true => print("All of it ran already. Ctrl-C leaves it running.\n"),
        false => print(&format!("Ctrl-C ends what was started here: {}.\n", names(&mine))),
    }
    watch(paths, mine, &ui)
}

fn bring_up(
    paths: &Paths,
    settings: &Settings,
    layout: &Layout,
    ledger: &Ledger,
    ui: &Ui,
) -> anyhow::Result<()> {
    let task = ui.task("packages");
    install(Purpose::Run, &paths.cache, &|what| task.announce(what))?;
    task.done("all there");

    let abandon = AtomicBool::new(false);
    let binaries = thread::scope(|scope| {
        let building = scope.spawn(|| match env::var_os(BUILT) {
            Some(folder) => Ok(PathBuf::from(folder)),
            None => build(paths, Profile::Release, ui, &abandon).map(|built| built.folder),
        });
        let started = start_servers(paths, layout, ledger, ui);
        if started.is_err() {
            abandon.store(true, Ordering::Relaxed);
        }
        let built = building.join().map_err(|_| anyhow!("the build panicked"));
        started?;
        built?
    })?;

    ledger.book().state.rate = Some(layout.rate);
    ensure_all(paths, ledger, layout.services(&binaries)?, ui)?;
    if layout.feed == Feed::Simulated {
        first_price::wait(layout.address(GATEWAY), settings.value("SYMBOLS"), ui)?;
    }
    Ok(())
}

fn start_servers(paths: &Paths, layout: &Layout, ledger: &Ledger, ui: &Ui) -> anyhow::Result<()> {
    let distribution = match layout.needs_kafka() {
        true => {
            let task = ui.task("downloads");
            task.step("Apache Kafka");
            let distribution = Distribution::install(&paths.cache)?;
            task.done("Apache Kafka is there");
            Some(distribution)
        }
        false => None,
    };
    ensure_all(paths, ledger, layout.servers(distribution)?, ui)?;
    let own_postgresql = ledger.book().state.entries.get(POSTGRESQL).cloned();
    if let Some(Entry { process: Some(_), address: Some(address), .. }) = own_postgresql {
        postgresql::create_database(&address)?;
    }
    Ok(())
}

/// Starts those of `units` that do not run as they should, and waits until all of them are ready.
fn ensure_all(paths: &Paths, ledger: &Ledger, units: Vec<Unit>, ui: &Ui) -> anyhow::Result<()> {
    let mut names = Vec::new();
    for unit in units {
        names.push(unit.member.name);
        ensure(ledger, unit, ui)?;
    }
    let book = ledger.book();
    let find = |name: &&str| Some((member(name)?, book.state.entries.get(*name)?.clone()));
    let entries: Vec<_> = names.iter().filter_map(find).collect();
    drop(book);
    wait_all(paths, &entries, ui)
}

/// Starts it unless it runs as it should.
fn ensure(ledger: &Ledger, unit: Unit, ui: &Ui) -> anyhow::Result<()> {
    let name = unit.member.name;
    let mut book = ledger.book();
    let before = book.state.entries.get(name).filter(|entry| entry.is_alive()).cloned();
    let entry = match unit.run {
        Run::External => {
            if before.is_some() {
                ui.say(&format!("{name}: ours is not needed any more"));
                end(&mut book.state, &[name], ui);
            }
            Entry::external(unit.ports.address)
        }
        Run::Own { fingerprint, start } => {
            if let Some(entry) = before {
                if entry.fingerprint == fingerprint {
                    if entry.process.is_some_and(|process| process.runs_replaced_program()) {
                        ui.say(&format!(
                            "{name} runs an older build than the one on disk: `cargo stack down`, \
                             then `up`, renews it"
                        ));
                    }
                    return Ok(());
                }
                ui.say(&format!("{name}: its settings have changed"));
                end(&mut book.state, &[name], ui);
            }
            let Running { process, stop_signal, .. } = start()?;
            Entry::own(process, stop_signal, unit.ports, fingerprint)
        }
    };
    book.record(name, entry)
}

/// Waits for those that are ours, all at once.
fn wait_all(paths: &Paths, entries: &[(&'static Member, Entry)], ui: &Ui) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let waiting: Vec<_> = entries
            .iter()
            .filter_map(|(member, entry)| {
                let running = Running {
                    name: member.name,
                    process: entry.process?,
                    address: entry.address.clone().or(entry.metrics.clone())?,
                    log: paths.log(member.name),
                    stop_signal: entry.stop_signal(),
                };
                let ready = || member.answers(entry.address.as_deref(), entry.metrics.as_deref());
                Some(scope.spawn(move || {
                    let task = ui.task(member.name);
                    task.step("waiting until it is ready");
                    running.wait_ready(PATIENCE, ready)?;
                    task.done(format!("ready at {}", running.address));
                    Ok(())
                }))
            })
            .collect();
        waiting
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a wait panicked"))?)
            .collect::<anyhow::Result<Vec<()>>>()
    })?;
    Ok(())
}

/// Says when one of `mine` dies, until `down` has ended them all. Ctrl-C ends the program.
fn watch(paths: &Paths, mut mine: BTreeMap<&str, ProcessId>, ui: &Ui) -> anyhow::Result<ExitCode> {
    let watches = !mine.is_empty();
    loop {
        thread::sleep(WATCH_EVERY);
        let mut gone = Vec::new();
        for (name, process) in &mine {
            let exit = process.reap();
            if exit.is_some() || !process.is_alive() {
                gone.push((*name, exit.map(|exit| format!(" ({exit})")).unwrap_or_default()));
            }
        }
        if gone.is_empty() {
            continue;
        }
        // `down` forgets a process only after its end, so what it is ending may still be listed.
        let ended = |state: &State| {
            gone.iter().all(|(name, _)| {
                state.entries.get(*name).is_none_or(|entry| entry.process != Some(mine[name]))
            })
        };
        let by_another = servers::poll(Duration::from_secs(3), || {
            State::load(paths).ok().filter(&ended).map(|_| ())
        });
        if by_another.is_none() {
            for (name, exit) in &gone {
                let log = paths.log(name);
                ui.say(&format!(
                    "{name} has ended{exit}: its log is {}; `cargo stack up` in another terminal \
                     starts it again",
                    paths.short(&log).display()
                ));
            }
        }
        for (name, _) in gone {
            mine.remove(name);
        }
        if watches && mine.is_empty() {
            ui.say("nothing that was started here runs any more");
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn names(processes: &BTreeMap<&str, ProcessId>) -> String {
    processes.keys().copied().collect::<Vec<_>>().join(", ")
}

fn to_try(layout: &Layout) -> String {
    let redis = layout.address(REDIS).rsplit_once(':');
    let (host, port) = redis.unwrap_or(("127.0.0.1", "6379"));
    let kafka = layout.address(KAFKA);
    let gateway = layout.address(GATEWAY).replace("127.0.0.1", "localhost");
    let grpc = layout.grpc(GATEWAY).replace("127.0.0.1", "localhost");
    format!(
        "Six things to try:\n  \
         curl {gateway}/price/AAPL\n  \
         curl -N '{gateway}/stream?symbols=AAPL,BINANCE:BTCUSDT'\n  \
         grpcurl -plaintext -d '{{\"symbols\":[\"AAPL\"]}}' {grpc} \
         gostocks.market.v1.MarketService/Subscribe\n  \
         redis-cli -h {host} -p {port} HGETALL 'price:{{AAPL}}'\n  \
         curl {gateway}/alerts -H 'content-type: application/json' -d \
         '{{\"user_id\":1,\"symbol\":\"AAPL\",\"condition\":\"ABOVE\",\"target_price\":1}}'\n  \
         cargo stack logs processor        # or: kcat -C -q -b {kafka} -t market_ticks -o -5 -e -f '%k %p@%o\\n'\n"
    )
}
