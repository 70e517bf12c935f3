//! Queries what `checks` needs to know before a send: the account's endpoints and the provider's offers.
use flash_target::{EnvironmentId, Preflight, ReleaseSpec, TargetError};

use super::{
    checks::{self, Account, CpuOffer, GpuOffer},
    desired,
    names::of_environment,
    reconcile,
    rest::{CatalogCpu, CatalogGpu, Rest, Stock, StockOf},
    urls,
};

/// What prevents this release from going live, and what it would change.
pub(super) async fn check(
    rest: &Rest,
    id: &EnvironmentId,
    spec: &ReleaseSpec,
) -> Result<Preflight, TargetError> {
    let (endpoints, gpus, cpus, centers) =
        tokio::try_join!(rest.endpoints(), rest.gpu_types(), rest.cpu_types(), rest.data_centers())?;
    let ours = of_environment(id, &endpoints);
    // The number makes no difference here.
    let wanted = desired::desired(id, spec, 0).unwrap_or_default();
    let urls = urls::by_worker(rest, &ours.by_worker);
    let is_complete = wanted.keys().all(|worker| urls.contains_key(worker));
    let wanted = match is_complete {
        true => {
            wanted.into_iter().map(|(worker, one)| (worker, desired::with_siblings(&one, &urls))).collect()
        }
        false => wanted,
    };
    let in_stock =
        |stock: Vec<StockOf>| stock.into_iter().map(|one| (one.id, one.availability > Stock::None)).collect();
    let gpu = |gpu: CatalogGpu| GpuOffer { id: gpu.id, pool: gpu.pool, in_stock: in_stock(gpu.data_centers) };
    let cpu = |cpu: CatalogCpu| CpuOffer {
        id: cpu.id,
        vcpus_min: cpu.vcpu.min,
        vcpus_max: cpu.vcpu.max,
        in_stock: in_stock(cpu.data_centers),
    };
    let account = Account {
        endpoints,
        gpus: gpus.into_iter().map(gpu).collect(),
        cpus: cpus.into_iter().map(cpu).collect(),
        data_centers: centers.into_iter().map(|center| center.id).collect(),
        // The API does not report it.
        quota: None,
    };
    let mut preflight = checks::findings(spec, &wanted, &account);
    preflight.warnings.extend(checks::duplicates(&ours));
    preflight.changes = reconcile::changes(&ours, &wanted);
    Ok(preflight)
}
