//! Multipart forms: `multipart/form-data` in memory, read and written.
use std::convert::Infallible;

use flash_protocol::{Error, Result};
use futures_util::{future, stream};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// A form with more fields is refused.
const MAX_FIELDS: usize = 1024;

/// A form with text and files, as the body of a route's request: `multipart/form-data`.
///
/// ```
/// use flash_sdk::{Multipart, Result, remote};
///
/// #[remote(worker = "web", cpu = Cpu3c_1_2, method = POST, path = "/photos")]
/// pub async fn add(form: Multipart) -> Result<String> {
///     let (title, photo) = (form.text("title")?, form.file("photo")?);
///     Ok(format!("{title}: {} bytes", photo.data().len()))
/// }
///
/// fn main() {}
/// ```
///
/// The worker reads the whole form before the function runs. It may be as large as the worker type's `max_body_mib`
/// allows, and have up to 1,024 fields. A body that is not a form gets status 400, and so does a request whose form lacks
/// a field that [`text`](Multipart::text) or [`file`](Multipart::file) asks for.
///
/// A caller in Rust, or a test, makes a form:
///
/// ```
/// # use flash_sdk::{Bytes, Multipart};
/// let photo = Bytes::with_content_type("image/jpeg", vec![0xff, 0xd8]);
/// let form = Multipart::new().with_text("title", "A cat").with_file("photo", "cat.jpg", photo);
/// assert_eq!(form.text("title").unwrap(), "A cat");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Multipart {
    fields: Vec<FormField>,
}

/// A field of a [`Multipart`] form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormField {
    name: String,
    file_name: Option<String>,
    data: Bytes,
}

impl Multipart {
    /// A form without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field with text, also beside one of the same name.
    pub fn with_text(self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.with(FormField { name: name.into(), file_name: None, data: text.into().into() })
    }

    /// Adds a file, also beside one of the same name. Its content type is that of the bytes, see
    /// [`Bytes::with_content_type`].
    pub fn with_file(
        self,
        name: impl Into<String>,
        file_name: impl Into<String>,
        data: impl Into<Bytes>,
    ) -> Self {
        self.with(FormField { name: name.into(), file_name: Some(file_name.into()), data: data.into() })
    }

    fn with(mut self, field: FormField) -> Self {
        self.fields.push(field);
        self
    }

    /// All fields in their order. A name may occur several times.
    pub fn fields(&self) -> &[FormField] {
        &self.fields
    }

    /// The first field of this name.
    pub fn get(&self, name: &str) -> Option<&FormField> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The text of the first field of this name.
    ///
    /// # Errors
    /// With status 400 if there is no such field, or if it is not UTF-8.
    pub fn text(&self, name: &str) -> Result<&str> {
        let text = std::str::from_utf8(&self.expect(name)?.data);
        text.map_err(|_| Error::status(400, format!("field `{name}` of the form is not UTF-8 text")))
    }

    /// The first field of this name, if it is a file.
    ///
    /// # Errors
    /// With status 400 if there is no such field, or if it has no file name.
    pub fn file(&self, name: &str) -> Result<&FormField> {
        let field = self.expect(name)?;
        match field.file_name {
            Some(_) => Ok(field),
            None => Err(Error::status(400, format!("field `{name}` of the form is text, expected a file"))),
        }
    }

    fn expect(&self, name: &str) -> Result<&FormField> {
        self.get(name).ok_or_else(|| Error::status(400, format!("the form has no field `{name}`")))
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// Why it is not a form.
    pub(crate) async fn read(content_type: Option<&str>, body: bytes::Bytes) -> Result<Self, String> {
        const EXPECTED: &str = "expected a form, with `Content-Type: multipart/form-data`";
        let Some(content_type) = content_type else { return Err(EXPECTED.to_owned()) };
        let boundary = multer::parse_boundary(content_type).map_err(|error| match error {
            multer::Error::NoBoundary => "the content type of the form has no `boundary`".to_owned(),
            _ => format!("{EXPECTED}, not `{content_type}`"),
        })?;
        let body = stream::once(future::ready(Ok::<_, Infallible>(body)));
        let wrong = |error: multer::Error| format!("the form is not valid: {error}");
        let (mut form, mut fields) = (multer::Multipart::new(body, boundary), Vec::new());
        while let Some(field) = form.next_field().await.map_err(wrong)? {
            if fields.len() == MAX_FIELDS {
                return Err(format!("the form has more than {MAX_FIELDS} fields"));
            }
            let name = field.name().ok_or("a field of the form has no name")?.to_owned();
            let file_name = field.file_name().map(str::to_owned);
            let content_type = field.content_type().map(ToString::to_string);
            let data = field.bytes().await.map_err(wrong)?;
            let data = match content_type {
                Some(content_type) => Bytes::with_content_type(content_type, data),
                None => data.into(),
            };
            fields.push(FormField { name, file_name, data });
        }
        Ok(Self { fields })
    }

    /// The body of a request, with its content type.
    pub(crate) fn to_body(&self) -> Bytes {
        let boundary = uuid::Uuid::new_v4().simple().to_string();
        let length: usize = self.fields.iter().map(|field| field.data.len() + 256).sum();
        let mut body = Vec::with_capacity(length + 64);
        for FormField { name, file_name, data } in &self.fields {
            body.extend(
                format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{}\"", quoted(name)).bytes(),
            );
            if let Some(file_name) = file_name {
                body.extend(format!("; filename=\"{}\"", quoted(file_name)).bytes());
            }
            let content_type = data.content_type().or(file_name.as_ref().map(|_| "application/octet-stream"));
            if let Some(content_type) = content_type.filter(|kind| !kind.contains(['\r', '\n'])) {
                body.extend(format!("\r\ncontent-type: {content_type}").bytes());
            }
            body.extend(b"\r\n\r\n");
            body.extend_from_slice(data);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{boundary}--\r\n").bytes());
        Bytes::with_content_type(format!("multipart/form-data; boundary={boundary}"), body)
    }
}

impl FormField {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the file, as the client says; `None` for text.
    pub fn file_name(&self) -> Option<&str> {
        self.file_name.as_deref()
    }

    /// Its bytes, with the content type that the client says.
    pub fn data(&self) -> &Bytes {
        &self.data
    }
}

/// A name between quotes, with the characters escaped that browsers escape.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_again() {
        let photo = Bytes::with_content_type("image/jpeg", &b"\xff\xd8\r\n--not a boundary\r\n"[..]);
        let form = Multipart::new()
            .with_text("title", "Eine Kätzin")
            .with_file("photo", "cat.jpg", photo)
            .with_text("title", "again");
        let body = form.to_body();
        let content_type = body.content_type().unwrap().to_owned();
        let read = Multipart::read(Some(&content_type), body.into_inner()).await.unwrap();
        assert_eq!(read, form);
        assert_eq!(read.file("photo").unwrap().data().content_type(), Some("image/jpeg"));
        assert_eq!(read.text("title").unwrap(), "Eine Kätzin", "the first of them");
    }

    #[tokio::test]
    async fn a_body_that_is_no_form_says_why() {
        let many: String = (0..=MAX_FIELDS)
            .map(|index| format!("--x\r\ncontent-disposition: form-data; name=\"{index}\"\r\n\r\n\r\n"))
            .collect();
        for (content_type, body, reason) in [
            (None, "", "expected a form"),
            (Some("application/json"), "{}", "not `application/json`"),
            (Some("multipart/form-data"), "--x", "has no `boundary`"),
            (Some("multipart/form-data; boundary=x"), "--x\r\nno end", "the form is not valid"),
            (
                Some("multipart/form-data; boundary=x"),
                "--x\r\ncontent-type: text/plain\r\n\r\nnameless\r\n--x--",
                "has no name",
            ),
            (Some("multipart/form-data; boundary=x"), &*many, "more than 1024 fields"),
        ] {
            let error = Multipart::read(content_type, body.to_owned().into()).await.unwrap_err();
            assert!(error.contains(reason), "{content_type:?}, {reason}: {error}");
        }
    }

    #[test]
    fn a_field_that_is_missing_or_another_kind_is_the_clients_fault() {
        let form = Multipart::new().with_text("title", "A cat").with_file("raw", "x", &b"\xff"[..]);
        for (error, message) in [
            (form.text("name").unwrap_err(), "the form has no field `name`"),
            (form.text("raw").unwrap_err(), "field `raw` of the form is not UTF-8 text"),
            (form.file("title").unwrap_err(), "field `title` of the form is text, expected a file"),
        ] {
            assert_eq!((error.message(), error.status_code()), (message, Some(400)));
        }
    }
}
