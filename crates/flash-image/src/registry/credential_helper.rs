//! Credential helpers: programs that store credentials, with docker's protocol.
use std::{process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

use super::login::{Login, LoginError};

/// A helper may ask its user to unlock something.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// The largest answer of a helper.
const ANSWER: u64 = 1 << 20;
/// What a helper prints, by its protocol, when it has no credentials.
const NOTHING: &str = "credentials not found in native keychain";
/// The user name that marks the secret as an identity token.
const TOKEN: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Kept {
    username: String,
    secret: String,
}

/// The program of the helper that a file names.
pub(super) fn program(name: &str) -> String {
    format!("docker-credential-{name}")
}

/// Calls a helper. It is stopped when it takes longer than `limit`.
pub(super) async fn ask(program: &str, server: &str, limit: Duration) -> Result<Option<Login>, LoginError> {
    let program = program.to_owned();
    let failed = |source| LoginError::Helper { program: program.clone(), source };
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Its stderr may contain a secret; what it has to say is in its answer.
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let talk = async {
        if let Some(mut stdin) = stdin {
            // A helper that does not read its input may still answer.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        let mut answer = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(ANSWER).read_to_end(&mut answer).await?;
        }
        Ok((child.wait().await?, answer))
    };
    let (status, answer) = match tokio::time::timeout(limit, talk).await {
        Ok(outcome) => outcome.map_err(failed)?,
        Err(_) => return Err(LoginError::HelperSilent { program, seconds: limit.as_secs() }),
    };
    if !status.success() {
        return match String::from_utf8_lossy(&answer).trim() == NOTHING {
            true => Ok(None),
            false => Err(LoginError::HelperFailed { program, status, server: server.to_owned() }),
        };
    }
    // Without the parser's message, which may quote the answer.
    let kept: Kept = serde_json::from_slice(&answer)
        .map_err(|_| LoginError::HelperUnclear { program: program.clone() })?;
    Ok(Some(match kept.username.as_str() {
        TOKEN => Login::IdentityToken(kept.secret.into()),
        _ => Login::Password { user: kept.username, password: kept.secret.into() },
    }))
}
