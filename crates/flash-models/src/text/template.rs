//! Chat templates: Jinja, as Hugging Face's libraries run it.
use std::io;

use flash_openai::{Message, ModelError};
use minijinja::{
    Environment, Error, ErrorKind, Value, context,
    value::{Kwargs, Serde, ValueKind},
};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

const NAME: &str = "chat";

/// How a model wants conversations written.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    beginning: String,
    end: String,
}

impl ChatTemplate {
    /// Reads a template. `beginning` and `end` are the model's tokens for the two, as templates write them.
    ///
    /// # Errors
    ///
    /// If it is no template.
    pub fn new(source: &str, beginning: &str, end: &str) -> Result<Self, Error> {
        let mut environment = Environment::new();
        let mut syntax = environment.syntax().to_builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        environment.set_syntax(syntax.build()?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", to_json);
        environment.add_template_owned(NAME, without_generation_blocks(source))?;
        Ok(Self { environment, beginning: beginning.to_owned(), end: end.to_owned() })
    }

    /// Writes a conversation, up to where the assistant's answer begins.
    ///
    /// # Errors
    ///
    /// If the template refuses the messages.
    pub fn render(&self, messages: &[Message]) -> Result<String, ModelError> {
        let messages: Vec<_> = messages.iter().map(Written::from).collect();
        let messages = Value::from(Serde(&messages));
        let variables = context! {
            messages,
            add_generation_prompt => true,
            bos_token => self.beginning.as_str(),
            eos_token => self.end.as_str(),
            tools => (),
            documents => (),
        };
        let template = self.environment.get_template(NAME).expect("the template was added by `new`");
        template.render(variables).map_err(|error| {
            let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            ModelError::invalid_request(format!("the model's chat template refuses these messages: {detail}"))
                .with_param("messages")
                .with_source(error)
        })
    }
}

#[derive(Serialize)]
struct Written<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

impl<'a> From<&'a Message> for Written<'a> {
    fn from(message: &'a Message) -> Self {
        Self { role: message.role.as_str(), content: &message.content, name: message.name.as_deref() }
    }
}

fn raise(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The date or time in the machine's time zone.
fn strftime_now(format: String) -> Result<String, Error> {
    jiff::fmt::strtime::format(&format, &jiff::ZonedDateTime::now())
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

/// As Python's `json.dumps` writes it: spaces after `,` and `:`, nothing escaped for HTML.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<Value> = options.get("indent")?;
    let indent = indent.filter(|value| value.kind() == ValueKind::Number).map(usize::try_from).transpose()?;
    // Others, such as `ensure_ascii`, have the value that is meant here anyway.
    for ignored in ["ensure_ascii", "separators", "sort_keys"] {
        let _: Option<Value> = options.get(ignored)?;
    }
    options.assert_all_used()?;
    let written = match indent {
        Some(indent) => write(value, PrettyFormatter::with_indent(" ".repeat(indent.min(16)).as_bytes())),
        None => write(value, Spaced),
    };
    let text = written.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(Value::from_safe_string(text))
}

fn write(value: &Value, formatter: impl Formatter) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))?;
    Ok(String::from_utf8(bytes).expect("JSON is UTF-8"))
}

/// One line, with spaces.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// `{% generation %}` marks what a model is trained on: for training only, and no block of Jinja. Blocks that always
/// hold take its place, so that its marks for white space keep their effect.
fn without_generation_blocks(source: &str) -> String {
    let mut written = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let (before, block) = (&rest[..start], &rest[start..start + length + 2]);
        written.push_str(before);
        let inside = block[2..block.len() - 2].trim_matches(['-', '+']).trim();
        match inside {
            "generation" => written.push_str(&block.replace("generation", "if true")),
            "endgeneration" => written.push_str(&block.replace("endgeneration", "endif")),
            _ => written.push_str(block),
        }
        rest = &rest[start + length + 2..];
    }
    written.push_str(rest);
    written
}
