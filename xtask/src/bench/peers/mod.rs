//! `cargo xtask bench peers`: the pipeline on flash against the same pipeline on frameworks in Python, in one run.
//!
//! Which frameworks, and how each is started, is in `peer`; the table is in `report`. Their services are in
//! `xtask/bench/peers`, each written as its framework's own quick start would.
mod peer;
mod report;

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    block_on,
    compare::{Plan, PlanArguments, Side, compare},
    load::{self, Target},
    pipeline,
    programs::{self, Artifact},
    server::Server,
};
use crate::{command, failure::Failure, output, prepare, steps::Steps};
use peer::Peer;
use report::{OfPeer, Report};

/// How long the services of a peer may take to answer, once they listen.
const READY: Duration = Duration::from_secs(60);

/// Measure the pipeline of three stages on flash against FastAPI, Ray Serve, BentoML and LitServe.
///
/// Each peer serves `POST /classify` with the same input and the same answer, from the services in
/// xtask/bench/peers/NAME, and is measured in turns with flash, by the same load generator. The peers write no line in
/// a log for a request; flash does. Load generator, servers and workers share this machine's cores: run nothing else,
/// and compare only the ratios with another machine. If the first and the last rounds of a side differ by more than
/// 15 %, there is no result.
///
/// LitServe has no calls from one service to another, so its three stages run in one process, where the others have
/// three or more.
///
/// Needs python3 with its module venv, and the network once: the packages of each peer, in the versions that its
/// requirements.txt pins, are installed in target/bench-peers/NAME (800 MB in all).
///
/// The official Runpod Python worker is compared by `cargo xtask bench platform`.
#[derive(Args)]
#[command(after_help = "Examples:\n  cargo xtask bench peers\n  \
                        cargo xtask bench peers --only fastapi --only ray --seconds 3\n  \
                        cargo xtask bench peers --json > peers.json\n\n\
                        A run takes about 20 times the seconds for each peer, plus warm-ups: 17 minutes by default.")]
pub(crate) struct Arguments {
    /// Measure this peer only; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<Peer>,
    #[command(flatten)]
    plan: PlanArguments,
    /// Print one JSON object with all rounds instead of the table.
    #[arg(long)]
    json: bool,
}

/// Prepares, builds, measures, reports.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let peers = Peer::chosen(&arguments.only);
    let mut steps = Steps::start();
    let mut python = String::new();
    for peer in &peers {
        let interpreter = prepare::bench_peer(&mut steps, peer.name())?;
        python = command::read(&mut command::command(&interpreter.display().to_string(), &["--version"]))?;
    }
    programs::build(&["flash-cli", "bench-pipeline"])?;
    let plan = arguments.plan.plan();
    let report = Report::new(&plan, python.trim(), block_on(measure(&peers, &plan))?);
    output::result(&if arguments.json { report.json()? } else { report.table() });
    Ok(())
}

/// Flash stays; the peers come and go. Dropping this future stops all.
async fn measure(peers: &[Peer], plan: &Plan) -> Result<Vec<OfPeer>, Failure> {
    let app = programs::start_app("xtask/bench/pipeline", Artifact::Sources, &[], None).await?;
    let mut measured = Vec::new();
    for peer in peers {
        measured.push(against(*peer, &app, plan).await.map_err(|failure| failure.within(peer.title()))?);
    }
    Ok(measured)
}

async fn against(peer: Peer, app: &Server, plan: &Plan) -> Result<OfPeer, Failure> {
    let version = peer.version()?;
    let servers = peer.start().await?;
    let [first, ..] = servers.as_slice() else {
        return Err(Failure::new("it has no server"));
    };
    let flash = pipeline::target("pipeline on flash", app);
    let other = pipeline::target(peer.title(), first);
    let wrong = |failure: Failure| failure.hint(format!("look into {}", peer.log().display()));
    ready(&other).await.map_err(wrong)?;
    pipeline::same_answers(&flash, &other).await?;
    let of_flash = Side { target: flash, servers: app.processes() };
    let of_peer = Side { target: other, servers: servers.iter().flat_map(Server::processes).collect() };
    let comparisons = compare(&of_flash, &of_peer, plan).await.map_err(|failure| {
        failure.hint(format!("look into {}; a slow peer needs more --seconds", peer.log().display()))
    })?;
    Ok(OfPeer::new(peer, version, comparisons))
}

/// Waits until the answer is right: frameworks listen before their services do.
async fn ready(target: &Target) -> Result<(), Failure> {
    let until = Instant::now() + READY;
    let mut last = Failure::new(format!("no answer within {} s", READY.as_secs()));
    loop {
        match timeout_at(until, load::once(target)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(failure)) => last = failure,
            Err(_) => return Err(last),
        }
        sleep(Duration::from_millis(200)).await;
    }
}
