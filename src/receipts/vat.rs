//! VAT that a price includes: whole cents, so that net and VAT are what was paid, to the cent.

use codexapi_aggregates::money::MicroUsd;

const MICRO_PER_CENT: i128 = 10_000;

/// What 100 % are, in basis points.
const WHOLE: i128 = 10_000;

/// The VAT in a gross amount, rounded half up to whole cents.
pub fn included(gross: MicroUsd, basis_points: u32) -> MicroUsd {
    let (gross, rate) = (i128::from(gross.0), i128::from(basis_points));
    let of = (WHOLE + rate) * MICRO_PER_CENT;
    let cents = (2 * gross * rate + of).div_euclid(2 * of);
    MicroUsd(i64::try_from(cents * MICRO_PER_CENT).expect("less than the gross amount"))
}

/// The VAT of a part, so that the parts of an amount have together the VAT of the whole.
pub fn of_part(before: MicroUsd, part: MicroUsd, basis_points: u32) -> MicroUsd {
    included(before + part, basis_points) - included(before, basis_points)
}
