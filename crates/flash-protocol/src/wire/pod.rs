//! The pod protocol: one connection between the first process of a pod and the Flash platform.
//!
//! The first process opens it, with `GET` and `Upgrade: flash-pod`, and starts workers as its children. After `101`, both
//! sides send frames: the length in four bytes, big endian, then one byte that says what follows: JSON, or output of
//! the child as it was written. A worker's variables come over the connection, so that a pod's description has no secrets. One
//! child runs at a time; the next one starts in the same pod.
mod marks;

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

pub use self::marks::{MAX_MARK_BYTES, MarkReader, Part, PodWork, mark};

/// The protocol name in the `Upgrade` header.
pub const PROTOCOL: &str = "flash-pod";

/// A longer frame is refused and ends the connection. Variables of a worker are the longest.
pub const MAX_FRAME_BYTES: usize = 4 << 20;

/// How much output one frame has at most.
pub const MAX_OUTPUT_BYTES: usize = 32 << 10;

/// What follows in a frame.
const JSON: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;

/// The number of a child: each is larger than those before it in the pod.
pub type ChildNumber = u64;

/// Platform to pod.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToPod {
    /// Start a worker. The one before it must have ended.
    Start(StartChild),
    /// Send a signal to the worker and everything that it started. Ignored if it has ended.
    Signal {
        /// Which one is meant.
        child: ChildNumber,
        /// The signal.
        signal: ChildSignal,
    },
    /// End the pod. A worker that still runs is killed.
    Leave,
}

/// A worker to start.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct StartChild {
    /// Its number.
    pub child: ChildNumber,
    /// Its variables, in addition to those of the pod. Of several with the same name, the last one counts.
    pub environment: Vec<(String, String)>,
}

impl fmt::Debug for StartChild {
    /// Without values, some of which are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.environment.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("StartChild").field("child", &self.child).field("environment", &names).finish()
    }
}

/// A signal for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildSignal {
    /// SIGTERM: finish what runs.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// Pod to platform.
#[derive(Debug, PartialEq, Eq)]
pub enum FromPod {
    /// What the worker has written, in order for each of the two.
    Output {
        /// Which worker.
        child: ChildNumber,
        /// Where to.
        to: OutputStream,
        /// At most [`MAX_OUTPUT_BYTES`], which may end within a line or a character.
        bytes: Bytes,
    },
    /// Something happened.
    Event(PodEvent),
}

/// What happened in a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PodEvent {
    /// The worker runs.
    Started {
        /// Which one.
        child: ChildNumber,
    },
    /// The worker could not be started.
    NotStarted {
        /// Which one.
        child: ChildNumber,
        /// Why not.
        reason: String,
    },
    /// The worker has ended, and so has everything that it started. Nothing of its output comes later.
    Ended {
        /// Which one.
        child: ChildNumber,
        /// How.
        end: ChildEnd,
    },
    /// What the worker writes to this stream from here on is for this work, or for none that is certain. At first it is
    /// for none.
    Work {
        /// Which worker.
        child: ChildNumber,
        /// Which stream.
        to: OutputStream,
        /// The work.
        work: Option<PodWork>,
    },
    /// The pod was asked to end by its node. Its worker gets SIGTERM, and no other one starts.
    Stopping,
}

/// How a worker has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildEnd {
    /// With this exit code.
    Code(i32),
    /// By the signal with this number.
    Signal(i32),
}

/// Where output was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    /// The standard output.
    Stdout,
    /// The standard error output.
    Stderr,
}

/// Why a frame cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It is empty, or its first byte is none that is known, or output without the number of its worker.
    #[error("a frame of an unknown kind")]
    Kind,
    /// Its JSON is not that of a frame.
    #[error("a frame that cannot be read")]
    Json(#[source] serde_json::Error),
}

impl ToPod {
    /// The frame without its length.
    pub fn encode(&self) -> Bytes {
        encode_json(self)
    }

    /// The opposite of [`ToPod::encode`].
    ///
    /// # Errors
    /// When it is no such frame.
    pub fn decode(frame: &[u8]) -> Result<Self, FrameError> {
        match frame.split_first() {
            Some((&JSON, text)) => serde_json::from_slice(text).map_err(FrameError::Json),
            _ => Err(FrameError::Kind),
        }
    }
}

impl FromPod {
    /// The frame without its length.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Event(event) => encode_json(event),
            Self::Output { child, to, bytes } => {
                let mut frame = BytesMut::with_capacity(1 + size_of::<ChildNumber>() + bytes.len());
                frame.put_u8(match to {
                    OutputStream::Stdout => STDOUT,
                    OutputStream::Stderr => STDERR,
                });
                frame.put_u64(*child);
                frame.put_slice(bytes);
                frame.freeze()
            }
        }
    }

    /// The opposite of [`FromPod::encode`].
    ///
    /// # Errors
    /// When it is no such frame.
    pub fn decode(frame: &Bytes) -> Result<Self, FrameError> {
        let to = match frame.first() {
            Some(&JSON) => {
                return serde_json::from_slice(&frame[1..]).map(Self::Event).map_err(FrameError::Json);
            }
            Some(&STDOUT) => OutputStream::Stdout,
            Some(&STDERR) => OutputStream::Stderr,
            _ => return Err(FrameError::Kind),
        };
        let number = frame.get(1..).and_then(|rest| rest.first_chunk()).ok_or(FrameError::Kind)?;
        let bytes = frame.slice(1 + number.len()..);
        Ok(Self::Output { child: ChildNumber::from_be_bytes(*number), to, bytes })
    }
}

fn encode_json(frame: &impl Serialize) -> Bytes {
    let mut text = vec![JSON];
    // Maps with string keys, and strings: they have a JSON form.
    if let Ok(json) = serde_json::to_vec(frame) {
        text.extend(json);
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_the_same() {
        let environment = vec![("A".to_owned(), "1".to_owned())];
        for frame in [
            ToPod::Start(StartChild { child: 7, environment }),
            ToPod::Signal { child: 7, signal: ChildSignal::Kill },
            ToPod::Leave,
        ] {
            assert_eq!(ToPod::decode(&frame.encode()).unwrap(), frame);
        }
        for frame in [
            FromPod::Event(PodEvent::Started { child: 1 }),
            FromPod::Event(PodEvent::Ended { child: u64::MAX, end: ChildEnd::Signal(9) }),
            FromPod::Event(PodEvent::Work { child: 1, to: OutputStream::Stderr, work: None }),
            FromPod::Output { child: 3, to: OutputStream::Stderr, bytes: Bytes::from_static(b"\xffa\nb") },
            FromPod::Output { child: 0, to: OutputStream::Stdout, bytes: Bytes::new() },
        ] {
            assert_eq!(FromPod::decode(&frame.encode()).unwrap(), frame);
        }
    }

    #[test]
    fn rubbish_is_refused() {
        for rubbish in [&b""[..], b"\x00", b"\x00{}", b"\x03a", b"\x01short", b"{\"leave\":1}"] {
            assert!(ToPod::decode(rubbish).is_err(), "{rubbish:?}");
            assert!(FromPod::decode(&Bytes::copy_from_slice(rubbish)).is_err(), "{rubbish:?}");
        }
    }

    #[test]
    fn values_of_variables_are_not_shown() {
        let start = StartChild { child: 1, environment: vec![("KEY".to_owned(), "secret".to_owned())] };
        let shown = format!("{start:?}");
        assert!(shown.contains("KEY") && !shown.contains("secret"), "{shown}");
    }
}
