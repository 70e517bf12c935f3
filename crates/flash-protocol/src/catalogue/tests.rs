use std::time::Duration;

use super::*;

#[test]
fn an_instance_name_says_its_size() {
    for cpu in CpuInstance::ALL {
        assert_eq!(cpu.id(), format!("{}-{}-{}", cpu.flavor(), cpu.vcpus(), cpu.memory_gb()));
    }
    assert_eq!(CpuInstance::Cpu5c_4_8.disk_gb(), 60);
    assert_eq!(CpuInstance::Cpu3g_4_16.disk_gb(), 40);
}

#[test]
fn every_gpu_type_is_in_exactly_one_pool() {
    for gpu in GpuType::ALL {
        let pools = GpuPool::ALL.iter().filter(|pool| pool.types().contains(gpu)).count();
        assert_eq!(pools, 1, "{gpu}");
        assert!(gpu.pool().vram_gb() <= gpu.vram_gb());
    }
}

#[test]
fn a_pool_name_says_its_memory() {
    for pool in GpuPool::ALL {
        assert!(pool.id().contains(&pool.vram_gb().to_string()), "{pool} has {} GB", pool.vram_gb());
    }
}

#[test]
fn ids_lead_back_to_their_entries() {
    for center in DataCenter::ALL {
        assert_eq!(DataCenter::from_id(center.id()), Some(*center));
    }
    assert_eq!(CpuInstance::from_id("cpu9z-1-1"), None);
}

#[test]
fn catalogue_prices_are_exact_nano_dollars() {
    let prices = PriceList::default();
    assert_eq!(prices.per_second(PriceKey::Gpu(GpuPool::Ada24)), Some(NanoDollars(310_000)));
    assert_eq!(prices.per_second(PriceKey::Gpu(GpuPool::Ada32Pro)), None, "no published price");
    assert_eq!(prices.per_second(PriceKey::Cpu(CpuInstance::Cpu3g_2_8)), Some(NanoDollars(16_600)));
}

#[test]
fn a_project_price_wins_over_the_catalogue() {
    let prices = PriceList::with_overrides([("cpu3g-2-8", 0.0002), ("ADA_24", 0.0015)]).unwrap();
    assert_eq!(prices.per_second(PriceKey::Gpu(GpuPool::Ada24)), Some(NanoDollars(1_500_000)));
    assert_eq!(
        NanoDollars(1_500_000).for_duration(Duration::from_millis(200)),
        NanoDollars(300_000),
        "0.2 s at $0.0015"
    );
}

#[test]
fn an_override_of_nothing_known_is_refused() {
    let unknown = PriceList::with_overrides([("ADA_25", 1.0)]).unwrap_err();
    assert_eq!(unknown, PriceListError::UnknownName("ADA_25".into()));
    assert!(PriceList::with_overrides([("ADA_24", -1.0)]).is_err());
    assert!(PriceList::with_overrides([("ADA_24", f64::NAN)]).is_err());
}

#[test]
fn money_prints_every_nano_dollar() {
    assert_eq!(NanoDollars(1_500).to_string(), "$0.000001500");
    assert_eq!(NanoDollars(3_160_000_000).to_string(), "$3.160000000");
}

#[test]
fn memory_chooses_every_pool_that_has_it_and_the_cheapest_first() {
    let prices = PriceList::default();
    for gb in 0..=200 {
        let chosen = GpuPool::with_memory(gb);
        let expected: Vec<_> = GpuPool::ALL.iter().filter(|pool| pool.vram_gb() >= gb).collect();
        assert!(expected.len() == chosen.len() && expected.iter().all(|pool| chosen.contains(pool)), "{gb}");
        let price =
            |pool: &GpuPool| prices.per_second(PriceKey::Gpu(*pool)).map_or(u64::MAX, |price| price.0);
        assert!(chosen.is_sorted_by_key(price), "{gb}: {chosen:?}");
    }
}
