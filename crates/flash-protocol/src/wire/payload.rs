//! A JSON value whose large byte strings stand beside its text, uncopied and without an encoding.
//!
//! A byte string within a value is base64 in JSON. On the exchange it is an *attachment* instead: the text has a
//! reference in its place, and its bytes follow the frame. [`Payload::to_json`] turns references back into base64, so
//! everything that needs JSON gets JSON: the store, HTTP clients, workers of earlier versions.
//!
//! A reference is a string that starts with the *mark* of the process that wrote it, a random number that no client
//! sees. So no input can be mistaken for one.
use std::{
    borrow::Cow,
    cell::RefCell,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{RawJson, base64};

/// Shorter byte strings stay in the text as base64: an attachment of its own would cost more.
pub const LEAST_ATTACHED_BYTES: usize = 512;

/// How every mark starts. In JSON text, `$` is never part of an escape, so a mark is always whole.
const MARK_HEAD: &str = "$bytes:";

/// The mark of this process.
static MARK: LazyLock<Arc<str>> =
    LazyLock::new(|| format!("{MARK_HEAD}{}:", uuid::Uuid::new_v4().simple()).into());

/// JSON text, and the byte strings that it refers to.
#[derive(Debug, Clone)]
pub struct Payload {
    text: RawJson,
    /// `None` for most values: then the text is all there is.
    attachments: Option<Arc<Attachments>>,
}

/// Byte strings beside a JSON text.
#[derive(Debug)]
pub(super) struct Attachments {
    /// What references to them start with; an index follows.
    pub(super) mark: Arc<str>,
    pub(super) parts: Vec<Bytes>,
}

impl From<RawJson> for Payload {
    fn from(text: RawJson) -> Self {
        Self { text, attachments: None }
    }
}

impl Payload {
    /// The value `null`.
    pub fn null() -> Self {
        super::null().into()
    }

    /// What `write` writes. Long byte strings for which it calls [`attach`] become attachments.
    ///
    /// # Errors
    /// The error of `write`.
    pub fn collect<E>(write: impl FnOnce() -> Result<RawJson, E>) -> Result<Self, E> {
        let (text, parts) = attaching(write);
        let attachments = (!parts.is_empty()).then(|| Arc::new(Attachments { mark: MARK.clone(), parts }));
        Ok(Self { text: text?, attachments })
    }

    /// Reads the value. Within `read`, [`attached`] finds the bytes of a reference.
    ///
    /// `read` runs a second time, on JSON with base64, if it has not looked at every attachment: it may have taken a
    /// reference for text.
    pub fn read<T>(&self, mut read: impl FnMut(&RawValue) -> T) -> T {
        let Some(attachments) = &self.attachments else { return read(&self.text) };
        let (value, seen) = reading(attachments.clone(), || read(&self.text));
        if seen.iter().all(|seen| *seen) { value } else { read(&self.to_json()) }
    }

    /// The text with references. It nests as deeply as [`Payload::to_json`].
    pub fn text(&self) -> &RawJson {
        &self.text
    }

    /// Whether there are attachments.
    pub fn has_attachments(&self) -> bool {
        self.attachments.is_some()
    }

    /// Bytes of memory, and on the exchange.
    pub fn weight(&self) -> usize {
        let parts = self.attachments.iter().flat_map(|attachments| &attachments.parts);
        self.text.get().len() + parts.map(Bytes::len).sum::<usize>()
    }

    /// About the length of [`Payload::to_json`], without making it. Exact if there are no attachments.
    pub fn json_len(&self) -> usize {
        let parts = self.attachments.iter().flat_map(|attachments| &attachments.parts);
        self.text.get().len() + parts.map(|part| part.len().div_ceil(3) * 4).sum::<usize>()
    }

    /// The value as JSON: attachments are base64. Copies nothing if there are none.
    pub fn to_json(&self) -> Cow<'_, RawValue> {
        match &self.attachments {
            None => Cow::Borrowed(&self.text),
            Some(attachments) => Cow::Owned(with_base64(&self.text, attachments)),
        }
    }

    /// Like [`Payload::to_json`].
    pub fn into_json(self) -> RawJson {
        match self.attachments {
            None => self.text,
            Some(attachments) => with_base64(&self.text, &attachments),
        }
    }
}

/// A list of values that is made value by value, without an encoding of their attachments.
#[derive(Debug, Default)]
pub struct PayloadList {
    text: String,
    parts: Vec<Bytes>,
    json_len: usize,
}

impl PayloadList {
    /// Adds a value. It shares the memory of the attachments.
    pub fn push(&mut self, value: &Payload) {
        self.text.push(if self.text.is_empty() { '[' } else { ',' });
        self.json_len += value.json_len() + 1;
        let Some(attachments) = &value.attachments else { return self.text.push_str(value.text.get()) };
        let before = self.parts.len();
        self.parts.extend(attachments.parts.iter().cloned());
        let mut pieces = value.text.get().split(&*attachments.mark);
        self.text.extend(pieces.next());
        for piece in pieces {
            let (index, rest) = split_index(piece);
            let index: usize = index.parse().unwrap_or(usize::MAX);
            self.text.push_str(&format!("{}{}{rest}", &**MARK, before.saturating_add(index)));
        }
    }

    /// About the length of the list as JSON; see [`Payload::json_len`].
    pub fn json_len(&self) -> usize {
        self.json_len + 1
    }

    /// The list.
    pub fn finish(mut self) -> Payload {
        self.text.push_str(if self.text.is_empty() { "[]" } else { "]" });
        let text = RawValue::from_string(self.text).expect("a list of JSON values is JSON");
        let parts = self.parts;
        let attachments = (!parts.is_empty()).then(|| Arc::new(Attachments { mark: MARK.clone(), parts }));
        Payload { text, attachments }
    }
}

impl Attachments {
    /// Those of a frame; `None` if the mark is not one.
    pub(super) fn new(mark: &str, parts: Vec<Bytes>) -> Option<Self> {
        let number = mark.strip_prefix(MARK_HEAD)?.strip_suffix(':')?;
        let is_mark = number.len() == 32 && number.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_mark.then(|| Self { mark: mark.into(), parts })
    }
}

/// Replaces references by base64. Only the first reference to an attachment counts, as nobody writes another.
fn with_base64(text: &RawValue, attachments: &Attachments) -> RawJson {
    let length: usize = attachments.parts.iter().map(|part| part.len().div_ceil(3) * 4).sum();
    let mut json = String::with_capacity(text.get().len() + length);
    let mut parts: Vec<_> = attachments.parts.iter().map(Some).collect();
    let mut pieces = text.get().split(&*attachments.mark);
    json.extend(pieces.next());
    for piece in pieces {
        let (index, rest) = split_index(piece);
        let part = index.parse().ok().and_then(|index: usize| parts.get_mut(index)?.take());
        part.into_iter().for_each(|part| base64::encode_to(part, &mut json));
        json.push_str(rest);
    }
    RawValue::from_string(json).expect("base64 in place of a reference, within a string")
}

/// What follows a mark: the index of the attachment, and the rest.
fn split_index(piece: &str) -> (&str, &str) {
    piece.split_at(piece.find(|next: char| !next.is_ascii_digit()).unwrap_or(piece.len()))
}

impl Serialize for Payload {
    /// As JSON, unless a frame of the exchange is being written that takes attachments.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.attachments {
            Some(attachments) if !put_into_frame(attachments) => self.to_json().serialize(serializer),
            _ => self.text.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = RawJson::deserialize(deserializer)?;
        Ok(Self { text, attachments: FRAME.take().and_then(Frame::into_attachments) })
    }
}

/// What this thread does with byte strings.
#[derive(Default)]
enum Values {
    /// They are base64.
    #[default]
    Json,
    /// They become attachments.
    Written(Vec<Bytes>),
    /// References to these are found; for each, whether it was.
    Read(Arc<Attachments>, Vec<bool>),
}

/// The frame that this thread writes or reads. A frame has one payload at most.
enum Frame {
    Written(Option<Arc<Attachments>>),
    Read(Arc<Attachments>),
}

impl Frame {
    fn into_attachments(self) -> Option<Arc<Attachments>> {
        match self {
            Self::Written(attachments) => attachments,
            Self::Read(attachments) => Some(attachments),
        }
    }
}

thread_local! {
    static VALUES: RefCell<Values> = RefCell::default();
    static FRAME: RefCell<Option<Frame>> = const { RefCell::new(None) };
}

/// Puts back what this thread did before, also when user code panics.
struct Restored(Option<Values>);

impl Restored {
    fn replace(values: Values) -> Self {
        Self(Some(VALUES.replace(values)))
    }

    fn end(mut self) -> Values {
        self.0.take().map(|before| VALUES.replace(before)).unwrap_or_default()
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        if let Some(before) = self.0.take() {
            VALUES.set(before);
        }
    }
}

/// Runs `write`, and returns the byte strings for which it called [`attach`].
pub fn attaching<T>(write: impl FnOnce() -> T) -> (T, Vec<Bytes>) {
    let scope = Restored::replace(Values::Written(Vec::new()));
    let written = write();
    match scope.end() {
        Values::Written(parts) => (written, parts),
        Values::Json | Values::Read(..) => (written, Vec::new()),
    }
}

fn reading<T>(attachments: Arc<Attachments>, read: impl FnOnce() -> T) -> (T, Vec<bool>) {
    let unseen = vec![false; attachments.parts.len()];
    let scope = Restored::replace(Values::Read(attachments, unseen));
    let value = read();
    match scope.end() {
        Values::Read(_, seen) => (value, seen),
        Values::Json | Values::Written(_) => (value, Vec::new()),
    }
}

/// Attaches a byte string to the value that is being written, and returns the text to write in its place. `None` if it
/// should be base64.
pub fn attach(bytes: &Bytes) -> Option<String> {
    if bytes.len() < LEAST_ATTACHED_BYTES {
        return None;
    }
    VALUES.with_borrow_mut(|values| match values {
        Values::Written(parts) => {
            parts.push(bytes.clone());
            Some(format!("{}{}", &**MARK, parts.len() - 1))
        }
        Values::Json | Values::Read(..) => None,
    })
}

/// The byte string that a text in the value that is being read refers to. `None` if it is not a reference.
pub fn attached(text: &str) -> Option<Bytes> {
    VALUES.with_borrow_mut(|values| match values {
        Values::Read(attachments, seen) => {
            let index: usize = text.strip_prefix(&*attachments.mark)?.parse().ok()?;
            let part = attachments.parts.get(index)?.clone();
            seen[index] = true;
            Some(part)
        }
        Values::Json | Values::Written(_) => None,
    })
}

/// Whether a frame is being written that takes these.
fn put_into_frame(attachments: &Arc<Attachments>) -> bool {
    FRAME.with_borrow_mut(|frame| match frame {
        Some(Frame::Written(taken @ None)) => {
            *taken = Some(attachments.clone());
            true
        }
        _ => false,
    })
}

/// Writes a frame, and returns the attachments of its payload.
pub(super) fn writing_frame<T>(write: impl FnOnce() -> T) -> (T, Option<Arc<Attachments>>) {
    FRAME.set(Some(Frame::Written(None)));
    let written = write();
    (written, FRAME.take().and_then(Frame::into_attachments))
}

/// Reads a frame whose payload has these attachments.
pub(super) fn reading_frame<T>(attachments: Attachments, read: impl FnOnce() -> T) -> T {
    FRAME.set(Some(Frame::Read(Arc::new(attachments))));
    let value = read();
    FRAME.set(None);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value with a byte string, as a function would have one.
    struct Picture(Bytes);

    impl Serialize for Picture {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let text = attach(&self.0).unwrap_or_else(|| base64::encode(&self.0));
            serializer.serialize_str(&text)
        }
    }

    fn picture() -> Bytes {
        (0..2000_u32).map(|byte| byte.to_le_bytes()[0]).collect()
    }

    fn payload(values: &(impl Serialize + ?Sized)) -> Payload {
        Payload::collect(|| serde_json::value::to_raw_value(values)).unwrap()
    }

    #[test]
    fn long_byte_strings_stand_beside_the_text_and_are_base64_in_json() {
        let (long, short) = (picture(), Bytes::from_static(b"abc"));
        let value = serde_json::json!({ "n": 7 });
        let payload = payload(&(Picture(long.clone()), Picture(short), &value, Picture(long.clone())));
        assert!(payload.text().get().len() < 200, "{}", payload.text());
        assert_eq!(payload.weight(), payload.text().get().len() + 4000);
        let encoded = base64::encode(&long);
        let json = format!(r#"["{encoded}","YWJj",{{"n":7}},"{encoded}"]"#);
        assert_eq!(payload.to_json().get(), json);
        assert_eq!(serde_json::to_string(&payload).unwrap(), json);
        assert!(payload.json_len() >= json.len());
        assert_eq!(payload.clone().into_json().get(), json);
    }

    #[test]
    fn a_reference_is_found_and_shares_the_memory() {
        let long = picture();
        let payload = payload(&[Picture(long.clone())]);
        let mut reads = 0;
        let found = payload.read(|text| {
            reads += 1;
            let [text]: [String; 1] = serde_json::from_str(text.get()).unwrap();
            attached(&text)
        });
        assert_eq!((found.unwrap().as_ptr(), reads), (long.as_ptr(), 1));
        assert_eq!(attached(payload.text().get()), None, "only while a value is being read");
    }

    #[test]
    fn a_reader_that_takes_a_reference_for_text_gets_base64() {
        let payload = payload(&[Picture(picture())]);
        let [text]: [String; 1] = payload.read(|text| serde_json::from_str(text.get()).unwrap());
        assert_eq!(text, base64::encode(&picture()));
    }

    #[test]
    fn a_list_of_values_has_the_attachments_of_all_of_them() {
        let (first, second) = (picture(), Bytes::from(vec![7; 600]));
        let mut list = PayloadList::default();
        list.push(&payload(&(Picture(first.clone()), "with 1 word", Picture(second.clone()))));
        list.push(&payload(&1));
        list.push(&payload(&Picture(second.clone())));
        let (about, list) = (list.json_len(), list.finish());
        let [first, second] = [first, second].map(|bytes| base64::encode(&bytes));
        let json = format!(r#"[["{first}","with 1 word","{second}"],1,"{second}"]"#);
        assert_eq!(list.to_json().get(), json);
        assert!(list.text().get().len() < 300 && about >= json.len(), "{about}: {}", list.text());
        assert_eq!(PayloadList::default().finish().to_json().get(), "[]");
        // From another process, whose references have another mark.
        let text = RawValue::from_string(format!("\"{MARK_HEAD}{}:0\"", "0".repeat(32))).unwrap();
        let mark = format!("{MARK_HEAD}{}:", "0".repeat(32));
        let attachments = Attachments::new(&mark, vec![Bytes::from(vec![7; 600])]).map(Arc::new);
        let mut list = PayloadList::default();
        list.push(&payload(&Picture(picture())));
        list.push(&Payload { text, attachments });
        assert!(list.finish().to_json().get().ends_with(&format!(",\"{second}\"]")));
    }

    #[test]
    fn a_panic_while_writing_leaves_nothing_behind() {
        let panicked = std::panic::catch_unwind(|| attaching(|| panic!("user code")));
        assert!(panicked.is_err());
        assert_eq!(attach(&picture()), None);
    }
}
