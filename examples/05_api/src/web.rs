//! The router: what clients reach over HTTP.
use std::sync::Arc;

use flash_sdk::{
    Context, Error, Result,
    axum::{
        Router,
        body::Body,
        extract::{
            Multipart, Path, State, WebSocketUpgrade,
            ws::{Message, WebSocket},
        },
        http::{HeaderName, HeaderValue, header},
        response::Response,
        routing::{any, get, post},
    },
    remote,
    stream::StreamExt as _,
};
use tokio::sync::broadcast;

use crate::{pictures::shrink, stories};

/// Pictures get at most this many pixels per side.
const LONGEST: u32 = 256;

/// A reader of the chat that is further behind loses the oldest messages.
const KEPT_MESSAGES: usize = 100;

/// Bytes of a message in the chat: the room keeps this many times [`KEPT_MESSAGES`].
const LONGEST_MESSAGE: usize = 16 * 1024;

/// The site. Its one worker holds the room of the chat.
pub struct Site {
    room: broadcast::Sender<String>,
}

// A larger form is refused at the door, with 413: a call of another worker carries about 15 MB of bytes.
#[remote(worker = "site", cpu = Cpu3c_1_2, workers = 0..=1, max_body_mib = 14)]
impl Site {
    /// With an empty room.
    #[init]
    pub fn open() -> Self {
        Self { room: broadcast::channel(KEPT_MESSAGES).0 }
    }

    /// A chat (`GET /chat`, a WebSocket), pictures (`POST /pictures`, a form) and stories (`GET /stories/{hero}`).
    #[http]
    pub fn routes(self: Arc<Self>) -> Router {
        Router::new()
            .route("/chat", any(join))
            .route("/pictures", post(upload))
            .route("/stories/{hero}", get(tell))
            .with_state(self)
    }
}

/// Everybody in the room gets what one of them says.
async fn join(State(site): State<Arc<Site>>, upgrade: WebSocketUpgrade) -> Response {
    let call = Context::current();
    upgrade.max_message_size(LONGEST_MESSAGE).on_upgrade(move |socket| async move {
        match call {
            // Log lines and calls of the conversation belong to its request.
            Some(call) => call.scope(talk(site, socket)).await,
            None => talk(site, socket).await,
        }
    })
}

async fn talk(site: Arc<Site>, mut socket: WebSocket) {
    let mut heard = site.room.subscribe();
    loop {
        tokio::select! {
            said = socket.recv() => match said {
                Some(Ok(Message::Text(text))) => {
                    // Fails only if nobody listens, and this connection does.
                    let _ = site.room.send(text.to_string());
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            text = heard.recv() => match text {
                Ok(text) => {
                    if socket.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
        }
    }
}

/// The first file of the form, made small by another worker.
async fn upload(mut form: Multipart) -> Result<([(HeaderName, HeaderValue); 1], Body)> {
    let field = form.next_field().await.map_err(|error| Error::status(400, error.to_string()))?;
    let field =
        field.ok_or_else(|| Error::status(400, "the form has no field: send the picture as a file"))?;
    let picture = field.bytes().await.map_err(|error| Error::status(400, error.to_string()))?;
    let small = shrink(picture.into(), LONGEST).await?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("image/png"))], Body::from(small.into_inner())))
}

/// The words of a story, each when another worker says it.
async fn tell(Path(hero): Path<String>) -> ([(HeaderName, HeaderValue); 1], Body) {
    let words = stories::tell(hero).map(|word| word.map(String::into_bytes));
    (
        [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))],
        Body::from_stream(words),
    )
}
