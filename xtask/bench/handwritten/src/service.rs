//! One stage as a service: listens on a free port, says it on stdout, ends with its stdin.
use std::{io, net::Ipv4Addr, thread};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
    serve::ListenerExt as _,
};
use bench_handwritten::stages::{
    CleanText, Metadata, Postprocessed, Prediction, RawText, infer, postprocess, preprocess,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{net::TcpListener, sync::oneshot};

/// What this process serves.
pub(crate) enum Stage {
    /// `POST /classify`, for clients.
    Preprocess { next: String },
    /// `POST /infer`
    Infer { next: String },
    /// `POST /postprocess`
    Postprocess,
    /// `POST /noop`: a job's JSON in, a result's JSON out.
    Noop,
}

/// The first stage's call of the second: its input, and what is passed on.
#[derive(Serialize, Deserialize)]
struct ToInfer {
    input: CleanText,
    original_text: String,
    sentence_count: usize,
}

/// The second stage's call of the third.
#[derive(Serialize, Deserialize)]
struct ToPostprocess {
    predictions: Vec<Prediction>,
    original_text: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct NoopJob {
    #[expect(dead_code, reason = "read from the body as a worker would, and not looked at")]
    input: Value,
}

#[derive(Serialize)]
struct NoopResult {
    status: &'static str,
    output: (),
}

/// The way to the next stage.
#[derive(Clone)]
struct Next {
    client: reqwest::Client,
    url: String,
}

/// A stage that could not be asked, as the answer 502.
struct NoAnswer(reqwest::Error);

impl From<reqwest::Error> for NoAnswer {
    fn from(error: reqwest::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for NoAnswer {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, self.0.to_string()).into_response()
    }
}

/// Serves until stdin ends: with whoever started it.
pub(crate) async fn serve(stage: Stage) -> io::Result<()> {
    let router = match stage {
        Stage::Preprocess { next } => {
            Router::new().route("/classify", post(classify)).with_state(Next::at(next)?)
        }
        Stage::Infer { next } => Router::new().route("/infer", post(infer_stage)).with_state(Next::at(next)?),
        Stage::Postprocess => Router::new().route("/postprocess", post(postprocess_stage)),
        Stage::Noop => Router::new().route("/noop", post(noop)),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    announce(listener.local_addr()?.port());
    // A connection that refuses the option works all the same, only later.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, router).with_graceful_shutdown(stdin_ended()).await
}

#[expect(clippy::print_stdout, reason = "the address is for the program that started this one")]
fn announce(port: u16) {
    println!("http://127.0.0.1:{port}");
}

/// Stdin has no readiness to wait for, so a thread reads it; it ends with stdin or with the process.
async fn stdin_ended() {
    let (ended, stdin_ended) = oneshot::channel::<()>();
    thread::spawn(move || {
        let _ended = ended;
        io::copy(&mut io::stdin(), &mut io::sink())
    });
    // The thread sends nothing: its end is the message.
    let _ = stdin_ended.await;
}

impl Next {
    fn at(url: String) -> io::Result<Self> {
        // Only to build a client: nothing here speaks TLS. A second installation changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .http1_only()
            .tcp_nodelay(true)
            .pool_max_idle_per_host(usize::MAX)
            .build()
            .map_err(io::Error::other)?;
        Ok(Self { client, url })
    }

    async fn ask<T: DeserializeOwned>(&self, body: &impl Serialize) -> Result<T, NoAnswer> {
        let response = self.client.post(&self.url).json(body).send().await?.error_for_status()?;
        Ok(response.json().await?)
    }
}

async fn classify(
    State(next): State<Next>,
    Json(input): Json<RawText>,
) -> Result<Json<Postprocessed>, Response> {
    if !(3..=10_000).contains(&input.text.chars().count()) {
        return Err((StatusCode::UNPROCESSABLE_ENTITY, "3 to 10000 characters are expected").into_response());
    }
    let clean = preprocess(input);
    let call = ToInfer {
        input: CleanText { cleaned_text: clean.cleaned_text, word_count: clean.word_count },
        original_text: clean.original_text,
        sentence_count: clean.sentence_count,
    };
    next.ask(&call).await.map(Json).map_err(IntoResponse::into_response)
}

async fn infer_stage(
    State(next): State<Next>,
    Json(call): Json<ToInfer>,
) -> Result<Json<Postprocessed>, NoAnswer> {
    let ToInfer { input, original_text, sentence_count } = call;
    let inference = infer(&input);
    let metadata = Metadata { word_count: input.word_count, sentence_count, model: inference.model };
    let call = ToPostprocess { predictions: inference.predictions, original_text, metadata };
    next.ask(&call).await.map(Json)
}

async fn postprocess_stage(Json(call): Json<ToPostprocess>) -> Json<Postprocessed> {
    Json(postprocess(call.predictions, &call.original_text, call.metadata))
}

async fn noop(Json(NoopJob { .. }): Json<NoopJob>) -> Json<NoopResult> {
    Json(NoopResult { status: "COMPLETED", output: () })
}
