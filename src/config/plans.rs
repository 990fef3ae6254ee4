//! The file of plans: decimal text in dollars, read exactly into whole micro-USD.

use codexapi_aggregates::catalog::{Catalog, CatalogCommand, Plan, PlanBuys, Sold, Visibility};
use codexapi_aggregates::ids::PlanId;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::wallet::entitlements::{AssumedRates, FairUse, FairUseWindow, Scope};
use cqrs_es::Aggregate;
use serde::Deserialize;

use super::dollars::Dollars;
use super::toml_file;

/// The plans that come with the service.
const BUILT_IN: &str = include_str!("../../config/plans.toml");

const SECONDS_PER_HOUR: u32 = 3_600;
const HOURS_PER_DAY: u32 = 24;

/// Plans in the order of the file; the catalogue has accepted them all in a trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanList(Vec<Plan>);

impl PlanList {
    /// The plans that come with the service.
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN).expect("the built-in list of plans is tested")
    }

    /// Reads the file at `path`; an empty path is the built-in list.
    pub(super) fn load(path: &str) -> Result<Self, String> {
        if path.is_empty() {
            return Self::parse(BUILT_IN);
        }
        let text = toml_file::read(path)?;
        Self::parse(&text)
    }

    /// Reads the text of a file of plans and tries it on an empty catalogue.
    ///
    /// # Errors
    /// What is wrong: with its line where it cannot be read, with the refusal where it breaks a rule.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml_file::parse(text, Self::tried)
    }

    fn tried(file: File) -> Result<Self, String> {
        let mut catalog = Catalog::default();
        let mut plans = Vec::new();
        for text in file.plans {
            let plan = text.plan()?;
            if catalog.plan(&plan.id).is_some() {
                return Err(format!("plan {} is given twice", plan.id));
            }
            let publish = CatalogCommand::Publish { plan: Box::new(plan.clone()), now: Timestamp::default() };
            let events = catalog.decide(publish).map_err(|refusal| format!("plan {}: {refusal}", plan.id))?;
            events.into_iter().for_each(|event| catalog.apply(event));
            plans.push(plan);
        }
        Ok(Self(plans))
    }

    pub fn plans(&self) -> &[Plan] {
        &self.0
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    plans: Vec<PlanText>,
}

/// Buys credit where `credit` is given, else an entitlement.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanText {
    id: PlanId,
    name: String,
    price: Dollars,
    visibility: Visibility,
    #[serde(default = "once")]
    sold: Sold,
    #[serde(default = "one")]
    max_quantity: u32,
    credit: Option<Dollars>,
    days: Option<u32>,
    scope: Option<Scope>,
    fair_use: Option<FairUseText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FairUseText {
    /// Per million tokens.
    input: Dollars,
    output: Dollars,
    windows: Vec<WindowText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowText {
    hours: u32,
    limit: Dollars,
}

impl PlanText {
    fn plan(self) -> Result<Plan, String> {
        let Self { id, name, price, visibility, sold, max_quantity, credit, days, scope, fair_use } = self;
        let buys = match (credit, days, scope, fair_use) {
            (Some(Dollars(credit_micro)), None, None, None) => PlanBuys::Credit { credit_micro },
            (None, Some(days), Some(scope), Some(fair_use)) => PlanBuys::Entitlement {
                scope,
                fair_use: fair_use.fair_use(),
                block_secs: hours(days.saturating_mul(HOURS_PER_DAY)),
            },
            _ => return Err(format!("plan {id} has either `credit`, or `days`, `scope` and `fair_use`")),
        };
        Ok(Plan { id, name, price_micro: price.0, buys, visibility, sold, max_quantity })
    }
}

impl FairUseText {
    fn fair_use(self) -> FairUse {
        let rates = AssumedRates { input: self.input.rate(), output: self.output.rate() };
        let window = |window: WindowText| FairUseWindow {
            length_secs: hours(window.hours),
            limit_micro: window.limit.0,
        };
        FairUse { rates, windows: self.windows.into_iter().map(window).collect() }
    }
}

/// In seconds; more than any plan may have where it does not fit.
fn hours(hours: u32) -> u32 {
    hours.saturating_mul(SECONDS_PER_HOUR)
}

fn once() -> Sold {
    Sold::Once
}

fn one() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use codexapi_aggregates::money::{MicroUsd, Rate};
    use codexapi_aggregates::usage::ClientFamily;

    use super::*;

    fn plan(list: &PlanList, id: &str) -> Plan {
        list.plans().iter().find(|plan| plan.id.as_str() == id).expect(id).clone()
    }

    #[test]
    fn the_built_in_list_has_the_published_packages() {
        let list = PlanList::built_in();
        let packages = [
            ("exit-intent", 50, 585, Visibility::ExitIntent),
            ("titan", 120, 1_250, Visibility::Public),
            ("apex", 150, 1_600, Visibility::Public),
            ("enterprise", 200, 2_200, Visibility::Public),
        ];
        for (id, price, credit, visibility) in packages {
            let plan = plan(&list, id);
            assert_eq!((plan.price_micro, plan.visibility), (MicroUsd::dollars(price), visibility), "{id}");
            assert_eq!(plan.credit(1), Some(MicroUsd::dollars(credit)), "{id}");
        }
    }

    #[test]
    fn the_built_in_plans_are_for_the_codex_cli_with_gpt_5_5_only() {
        let list = PlanList::built_in();
        let cases = [("unlimited", 149, 1, [5, 72]), ("unlimited-promo", 99, 5, [5, 24])];
        for (id, price, most, window_hours) in cases {
            let plan = plan(&list, id);
            assert_eq!((plan.price_micro, plan.max_quantity), (MicroUsd::dollars(price), most), "{id}");
            let PlanBuys::Entitlement { scope, fair_use, .. } = plan.buys else { panic!("{id} is a plan") };
            let lengths: Vec<u32> =
                fair_use.windows.iter().map(|window| window.length_secs / 3_600).collect();
            assert_eq!(lengths, window_hours, "{id}");
            assert_eq!(fair_use.rates.input, Rate(5_000_000));
            for family in ClientFamily::ALL {
                let covered = scope.covers(family, "gpt-5.5");
                assert_eq!(covered, family == ClientFamily::CodexCli, "{id}: {}", family.name());
                assert!(!scope.covers(family, "claude-opus-4-8"), "{id}");
            }
        }
        let promo = plan(&list, "unlimited-promo").entitlement(3).expect("a plan");
        assert_eq!(promo.length_secs(), 30 * 86_400, "three blocks are thirty days");
    }

    #[test]
    fn what_no_catalogue_takes_is_refused() {
        let good = "[[plans]]\nid = \"a\"\nname = \"A\"\nprice = \"5.00\"\ncredit = \"10.00\"\nvisibility = \"public\"\n";
        assert!(PlanList::parse(good).is_ok());
        let cases = [
            (good.replace("\"5.00\"", "5.00"), "decimal text"),
            (good.replace("\"5.00\"", "\"0\""), "more than $0"),
            (good.replace("id = \"a\"", "id = \"A b\""), "lower-case letters"),
            (good.replace("credit", "credits"), "credits"),
            (good.replace("credit = \"10.00\"\n", ""), "either `credit`"),
            (format!("{good}days = 3\n"), "either `credit`"),
            (format!("{good}sold = \"monthly\"\nmax_quantity = 2\n"), "one at a time"),
            (format!("{good}{good}"), "given twice"),
        ];
        for (text, expected) in cases {
            let refusal = PlanList::parse(&text).expect_err("bad");
            assert!(refusal.contains(expected), "{expected}: {refusal}");
        }
    }
}
