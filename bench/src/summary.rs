//! Many durations in a few numbers. Every one of them is kept: no histogram, no correction.

use std::time::Duration;

use serde::Serialize;

/// In microseconds.
#[derive(Serialize)]
pub struct Summary {
    pub count: usize,
    pub mean: u64,
    pub p50: u64,
    pub p90: u64,
    pub p95: u64,
    pub p99: u64,
    pub max: u64,
}

/// `None` where there is nothing to sum up.
pub fn of(mut micros: Vec<u32>) -> Option<Summary> {
    micros.sort_unstable();
    let max = u64::from(*micros.last()?);
    // The smallest that at least this share of all does not exceed.
    let at = |percent: usize| u64::from(micros[(micros.len() * percent).div_ceil(100).max(1) - 1]);
    let mean = micros.iter().map(|micro| u64::from(*micro)).sum::<u64>() / micros.len() as u64;
    Some(Summary { count: micros.len(), mean, p50: at(50), p90: at(90), p95: at(95), p99: at(99), max })
}

/// Beyond an hour is an hour.
pub fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(3_600_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        assert!(of(vec![]).is_none());
        let one = of(vec![7]).expect("one");
        assert_eq!((one.p50, one.p99, one.max, one.mean), (7, 7, 7, 7));
        let hundred = of((1..=100).rev().collect()).expect("many");
        assert_eq!((hundred.p50, hundred.p90, hundred.p99, hundred.max), (50, 90, 99, 100));
        assert_eq!(hundred.mean, 50);
    }
}
