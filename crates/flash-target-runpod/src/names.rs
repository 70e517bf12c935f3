//! Which resources at the provider are ours: names and markers. A resource that lacks either is foreign and never
//! touched.
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use flash_target::EnvironmentId;

use super::rest::{Endpoint, Template};

/// Marker in the variables of endpoints and templates: the app.
pub(crate) const APP: &str = "FLASH_APP";
/// Marker: the environment's name.
pub(crate) const ENVIRONMENT: &str = "FLASH_ENVIRONMENT";
/// Marker of a template: its release. On an endpoint: the release whose image and variables its workers have.
pub(crate) const RELEASE: &str = "FLASH_RELEASE";
/// Marker of an endpoint: the worker type.
pub(crate) const WORKER: &str = flash_protocol::variables::WORKER;

/// The suffix that the provider may append to the name of an endpoint with FlashBoot.
const FLASHBOOT_SUFFIX: &str = " -fb";

/// The endpoint of a worker type.
pub(crate) fn endpoint_name(id: &EnvironmentId, worker: &str) -> String {
    format!("flash.{}.{}.{worker}", id.app, id.name)
}

/// The template that holds a release.
pub(crate) fn template_name(id: &EnvironmentId, release: u64) -> String {
    format!("flash.{}.{}.r{release}", id.app, id.name)
}

/// The name without the provider's suffix.
pub(crate) fn plain_name(name: &str) -> &str {
    name.strip_suffix(FLASHBOOT_SUFFIX).unwrap_or(name)
}

/// Endpoints of one environment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct OwnEndpoints {
    pub by_worker: BTreeMap<String, Endpoint>,
    /// Later endpoints of the same worker types.
    pub duplicates: Vec<Endpoint>,
}

/// The endpoints of this environment. If a worker type has several, the oldest is used.
pub(crate) fn of_environment(id: &EnvironmentId, endpoints: &[Endpoint]) -> OwnEndpoints {
    let mut sorted: Vec<&Endpoint> = endpoints.iter().collect();
    sorted.sort_by(|a, b| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id)));
    let mut ours = OwnEndpoints::default();
    for endpoint in sorted {
        match owner(endpoint) {
            Some((its, worker)) if its == *id => match ours.by_worker.entry(worker) {
                Entry::Occupied(_) => ours.duplicates.push(endpoint.clone()),
                Entry::Vacant(place) => drop(place.insert(endpoint.clone())),
            },
            _ => {}
        }
    }
    ours
}

/// All environments that have an endpoint or a release.
pub(crate) fn environments_in(endpoints: &[Endpoint], templates: &[Template]) -> BTreeSet<EnvironmentId> {
    let of_endpoints = endpoints.iter().filter_map(|endpoint| Some(owner(endpoint)?.0));
    let of_templates = templates.iter().filter_map(|template| Some(release_in(template)?.0));
    of_endpoints.chain(of_templates).collect()
}

/// The environment and worker type of an endpoint. `None`: it is foreign.
pub(crate) fn owner(endpoint: &Endpoint) -> Option<(EnvironmentId, String)> {
    let (id, worker) = parts(plain_name(&endpoint.name))?;
    let env = endpoint.env.as_ref()?;
    (is_marked(env, &id) && env.get(WORKER).is_some_and(|marked| marked == worker))
        .then(|| (id, worker.to_owned()))
}

/// The release that a template holds. `None`: it is foreign.
pub(crate) fn release_in(template: &Template) -> Option<(EnvironmentId, u64)> {
    let (id, last) = parts(&template.name)?;
    let number = last.strip_prefix('r')?;
    let is_marked =
        is_marked(&template.env, &id) && template.env.get(RELEASE).is_some_and(|marked| marked == number);
    (is_marked && template.serverless && !template.public).then_some(())?;
    Some((id, number.parse().ok()?))
}

/// `flash.APP.ENVIRONMENT.LAST`.
fn parts(name: &str) -> Option<(EnvironmentId, &str)> {
    let mut parts = name.split('.');
    let (head, app, environment, last) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if head != "flash" || parts.next().is_some() || app.is_empty() || last.is_empty() {
        return None;
    }
    Some((EnvironmentId::new(app, environment).ok()?, last))
}

fn is_marked(env: &BTreeMap<String, String>, id: &EnvironmentId) -> bool {
    env.get(APP) == Some(&id.app) && env.get(ENVIRONMENT) == Some(&id.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{id, there, wanted};

    fn batch() -> Endpoint {
        there(&wanted("preprocess_worker"), "e1")
    }

    #[test]
    fn an_endpoint_is_found_whatever_the_provider_appends_to_its_name() {
        let mut endpoint = batch();
        endpoint.name.push_str(" -fb");
        let ours = of_environment(&id(), &[endpoint]);
        assert_eq!(ours.by_worker.keys().collect::<Vec<_>>(), ["preprocess_worker"]);
    }

    #[test]
    fn an_endpoint_without_our_markers_or_name_is_foreign() {
        let spoilt = |spoil: &dyn Fn(&mut Endpoint)| {
            let mut endpoint = batch();
            spoil(&mut endpoint);
            assert_eq!(of_environment(&id(), std::slice::from_ref(&endpoint)), OwnEndpoints::default());
            assert!(environments_in(&[endpoint], &[]).is_empty());
        };
        spoilt(&|endpoint| endpoint.env = None);
        for marker in [APP, ENVIRONMENT, WORKER] {
            spoilt(&|endpoint| drop(endpoint.env.as_mut().unwrap().remove(marker)));
            spoilt(&|endpoint| drop(endpoint.env.as_mut().unwrap().insert(marker.into(), "x".into())));
        }
        for name in ["flash.mixed", "my endpoint", "flash.a.b.c.d", "flash.mixed.production.other", ""] {
            spoilt(&|endpoint| endpoint.name = name.to_owned());
        }
    }

    #[test]
    fn the_oldest_of_two_is_the_one() {
        let (mut young, mut old) = (batch(), batch());
        (young.id, young.created_at) = ("a".into(), "2026-09-01T00:00:00Z".into());
        (old.id, old.created_at) = ("b".into(), "2026-08-01T00:00:00Z".into());
        let ours = of_environment(&id(), &[young.clone(), old.clone()]);
        assert_eq!(ours.by_worker["preprocess_worker"], old);
        assert_eq!(ours.duplicates, [young]);
    }

    #[test]
    fn a_template_is_ours_by_name_and_markers() {
        let env = [(APP, "mixed"), (ENVIRONMENT, "production"), (RELEASE, "4")];
        let template = Template {
            id: "t".into(),
            name: template_name(&id(), 4),
            image: "i".into(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            serverless: true,
            public: false,
        };
        assert_eq!(release_in(&template), Some((id(), 4)));
        assert_eq!(environments_in(&[], std::slice::from_ref(&template)), [id()].into());
        assert_eq!(release_in(&Template { name: template_name(&id(), 5), ..template.clone() }), None);
        assert_eq!(release_in(&Template { public: true, ..template }), None);
    }
}
