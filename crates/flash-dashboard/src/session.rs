//! Sessions of browsers, their cookie, and the tokens that open one.
//!
//! A session stands for a key that somebody gave once. It is known by a random text, of which only the hash is kept. It
//! ends after [`IDLE`] without a request, after [`LIFETIME`] in any case, when its owner logs out, and when its key is no
//! longer valid: the caller says which keys are. All of them end with the process.
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

/// How the name of the cookie begins. Browsers do not tell the ports of a host apart, so each platform adds an ending of its
/// own: logging in at one must not end the session at another.
const COOKIE: &str = "flash_session_";

/// How long a session lives without a request.
const IDLE: Duration = Duration::from_secs(2 * 3600);
/// How long a session lives at most.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// How long a token can be used.
const TOKEN_LIFETIME: Duration = Duration::from_secs(60);
/// Sessions, and tokens, that there are at most. The one that was used longest ago makes way.
const MOST: usize = 64;
/// The length of an identifier: two random UUIDs in hexadecimal.
const LENGTH: usize = 64;

/// Of an identifier. A look-up takes as long whichever of its characters are right.
type Hash = [u8; 32];

/// The sessions of one platform. `K` says which key opened a session; it should not be the key itself.
pub struct Sessions<K> {
    /// The name of the cookie.
    cookie: String,
    inner: Mutex<Inner<K>>,
}

struct Inner<K> {
    open: HashMap<Hash, Session<K>>,
    tokens: HashMap<Hash, Token<K>>,
}

struct Session<K> {
    key: K,
    began: Instant,
    used: Instant,
}

struct Token<K> {
    key: K,
    made: Instant,
}

impl<K> Default for Sessions<K> {
    fn default() -> Self {
        let cookie = format!("{COOKIE}{}", &random()[..8]);
        Self { cookie, inner: Mutex::new(Inner { open: HashMap::new(), tokens: HashMap::new() }) }
    }
}

impl<K: Clone> Sessions<K> {
    /// Opens a session. Returns its identifier, for [`Sessions::set_cookie`].
    pub fn open(&self, key: K) -> String {
        self.open_at(key, Instant::now())
    }

    /// The header `Set-Cookie` that begins a session. A cookie that came over TLS is never sent without.
    pub fn set_cookie(&self, identifier: &str, transport: Transport) -> String {
        format!("{}={identifier}; {}", self.cookie, attributes(transport))
    }

    /// The header `Set-Cookie` that ends a session in the browser.
    pub fn clear_cookie(&self, transport: Transport) -> String {
        format!("{}=; Max-Age=0; {}", self.cookie, attributes(transport))
    }

    /// The identifier in a header `Cookie`; `None` without one that a session could have.
    pub fn cookie_of<'a>(&self, header: &'a str) -> Option<&'a str> {
        let mut pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(name, _)| *name == self.cookie)?;
        let is_possible = value.len() == LENGTH && value.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_possible.then_some(value)
    }

    /// The key of a session; `None` if there is no such session any more.
    pub fn key(&self, identifier: &str) -> Option<K> {
        self.key_at(identifier, Instant::now())
    }

    /// Ends a session.
    pub fn close(&self, identifier: &str) {
        self.inner.lock().open.remove(&hash(identifier));
    }

    /// Makes a token that opens one session within a minute.
    pub fn token(&self, key: K) -> String {
        self.token_at(key, Instant::now())
    }

    /// Uses a token up. The key it was made with; `None` if it was used, is too old, or never was.
    pub fn redeem(&self, token: &str) -> Option<K> {
        self.redeem_at(token, Instant::now())
    }

    fn open_at(&self, key: K, now: Instant) -> String {
        let identifier = random();
        let mut inner = self.inner.lock();
        make_room(&mut inner.open, |session| session.used);
        inner.open.insert(hash(&identifier), Session { key, began: now, used: now });
        identifier
    }

    fn key_at(&self, identifier: &str, now: Instant) -> Option<K> {
        let hash = hash(identifier);
        let mut inner = self.inner.lock();
        let session = inner.open.get_mut(&hash)?;
        if now.duration_since(session.used) > IDLE || now.duration_since(session.began) > LIFETIME {
            inner.open.remove(&hash);
            return None;
        }
        session.used = now;
        Some(session.key.clone())
    }

    fn token_at(&self, key: K, now: Instant) -> String {
        let token = random();
        let mut inner = self.inner.lock();
        make_room(&mut inner.tokens, |token| token.made);
        inner.tokens.insert(hash(&token), Token { key, made: now });
        token
    }

    fn redeem_at(&self, token: &str, now: Instant) -> Option<K> {
        let Token { key, made } = self.inner.lock().tokens.remove(&hash(token))?;
        (now.duration_since(made) <= TOKEN_LIFETIME).then_some(key)
    }
}

/// Drops the entry with the earliest time if there are as many as there may be.
fn make_room<T>(entries: &mut HashMap<Hash, T>, time: impl Fn(&T) -> Instant) {
    if entries.len() >= MOST
        && let Some(oldest) = entries.iter().min_by_key(|(_, entry)| time(entry)).map(|(hash, _)| *hash)
    {
        entries.remove(&oldest);
    }
}

fn random() -> String {
    let half = || uuid::Uuid::new_v4().simple().to_string();
    half() + &half()
}

fn hash(identifier: &str) -> Hash {
    Sha256::digest(identifier.as_bytes()).into()
}

/// How a browser reached the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Over plain HTTP.
    Plain,
    /// Over TLS, which a proxy in front ends.
    Tls,
}

fn attributes(transport: Transport) -> &'static str {
    match transport {
        Transport::Plain => "Path=/_flash/; HttpOnly; SameSite=Strict",
        Transport::Tls => "Path=/_flash/; HttpOnly; SameSite=Strict; Secure",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_known_by_its_identifier_alone_until_it_is_closed() {
        let sessions = Sessions::default();
        let (one, two) = (sessions.open(1), sessions.open(2));
        assert_eq!((sessions.key(&one), sessions.key(&two)), (Some(1), Some(2)));
        assert_eq!([&one[1..], "", &one.to_uppercase()].map(|wrong| sessions.key(wrong)), [None; 3]);
        sessions.close(&one);
        assert_eq!((sessions.key(&one), sessions.key(&two)), (None, Some(2)));
    }

    #[test]
    fn a_session_ends_when_nobody_uses_it_and_after_half_a_day() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let unused = sessions.open_at((), start);
        assert!(sessions.key_at(&unused, start + IDLE).is_some(), "the last request counts");
        assert!(sessions.key_at(&unused, start + 2 * IDLE + Duration::from_secs(1)).is_none());
        let used = sessions.open_at((), start);
        let mut now = start;
        while now <= start + LIFETIME {
            assert!(sessions.key_at(&used, now).is_some());
            now += IDLE;
        }
        assert!(sessions.key_at(&used, start + LIFETIME + Duration::from_secs(1)).is_none());
    }

    #[test]
    fn there_are_no_more_sessions_than_64_and_those_in_use_stay() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let kept = sessions.open_at(0, start);
        let mut first = None;
        for number in 1..100 {
            let now = start + Duration::from_secs(number);
            let new = sessions.open_at(number, now);
            first.get_or_insert(new);
            assert_eq!(sessions.key_at(&kept, now), Some(0));
        }
        assert_eq!(sessions.inner.lock().open.len(), MOST);
        assert_eq!(sessions.key_at(&first.unwrap(), start), None);
    }

    #[test]
    fn a_token_opens_once_and_within_a_minute() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let token = sessions.token_at(7, start);
        assert_eq!(sessions.key(&token), None, "a token is no session");
        assert_eq!(sessions.redeem_at(&token, start + TOKEN_LIFETIME), Some(7));
        assert_eq!(sessions.redeem_at(&token, start), None, "it was used");
        let late = sessions.token_at(7, start);
        assert_eq!(sessions.redeem_at(&late, start + TOKEN_LIFETIME + Duration::from_millis(1)), None);
    }

    #[test]
    fn the_cookie_is_read_back_beside_others_and_nothing_else_is_taken_for_it() {
        let (sessions, others) = (Sessions::default(), Sessions::<()>::default());
        let identifier = sessions.open(());
        let plain = sessions.set_cookie(&identifier, Transport::Plain);
        assert!(plain.ends_with("; Path=/_flash/; HttpOnly; SameSite=Strict"), "{plain}");
        assert!(sessions.set_cookie(&identifier, Transport::Tls).ends_with("; Secure"));
        let sent = plain.split(';').next().unwrap();
        // The browser sends what it got from another port of the same host, too.
        let other = others.set_cookie(&others.open(()), Transport::Plain);
        let header = format!("{}; {sent}; a=b", other.split(';').next().unwrap());
        assert_eq!(sessions.cookie_of(&header), Some(identifier.as_str()));
        assert_ne!(others.cookie_of(&header), Some(identifier.as_str()));
        let wrong = [
            format!("x{sent}"),
            format!("{}=short", sessions.cookie),
            format!("{}={}", sessions.cookie, "ü".repeat(32)),
            String::new(),
        ];
        for header in wrong {
            assert_eq!(sessions.cookie_of(&header), None, "{header}");
        }
    }
}
