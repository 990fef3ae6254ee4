//! Prices and products, made within the call that uses them.

use serde_json::{Value, json};

use super::Call;
use crate::params::Params;
use crate::refusal::Refusal;
use crate::world::{World, new_id, shown};

const INTERVALS: [&str; 4] = ["day", "week", "month", "year"];

/// `price_data` as it was given.
pub struct PriceData {
    pub currency: String,
    pub unit_amount: i64,
    pub recurring: Option<Recurring>,
    product: Product,
}

enum Product {
    Existing(String),
    New { name: String, description: Option<String>, metadata: Value },
}

#[derive(Clone)]
pub struct Recurring {
    pub interval: String,
    pub interval_count: i64,
}

impl Recurring {
    /// How long a period lasts; months and years are taken as 30 and 365 days.
    pub fn seconds(&self) -> i64 {
        const DAY: i64 = 24 * 60 * 60;
        let days = match self.interval.as_str() {
            "day" => 1,
            "week" => 7,
            "month" => 30,
            _ => 365,
        };
        days * DAY * self.interval_count
    }
}

impl PriceData {
    pub fn read(mut params: Params) -> Result<Self, Refusal> {
        let currency = params.need_currency("currency")?;
        let unit_amount = params.need_integer("unit_amount")?;
        if unit_amount < 0 {
            let message = "Invalid non-negative integer";
            return Err(Refusal::invalid(params.path_of("unit_amount"), message));
        }
        let recurring = match params.map("recurring")? {
            None => None,
            Some(mut recurring) => {
                let Some(interval) = recurring.choice("interval", &INTERVALS)? else {
                    return Err(Refusal::MissingParameter { param: recurring.path_of("interval") });
                };
                let interval_count = recurring.integer("interval_count")?.unwrap_or(1);
                recurring.done()?;
                Some(Recurring { interval, interval_count })
            }
        };
        params.choice("tax_behavior", &["exclusive", "inclusive", "unspecified"])?;
        let product = match (params.text("product")?, params.map("product_data")?) {
            (Some(id), None) => Product::Existing(id),
            (None, Some(mut data)) => {
                let name = data.need_text("name")?;
                let description = data.text("description")?;
                let metadata = data.new_metadata("metadata")?;
                data.done()?;
                Product::New { name, description, metadata }
            }
            _ => {
                let message = "You must specify either `product` or `product_data` when creating a price.";
                return Err(Refusal::invalid(params.path_of("product"), message));
            }
        };
        params.done()?;
        Ok(PriceData { currency, unit_amount, recurring, product })
    }

    pub fn check(&self, world: &World) -> Result<(), Refusal> {
        match &self.product {
            Product::Existing(id) => world.objects.named("product", id, "product").map(|_| ()),
            Product::New { .. } => Ok(()),
        }
    }

    /// Makes the price, and its product unless it exists. Returns the price and the product's name.
    pub fn make(&self, world: &mut World) -> (Value, String) {
        let now = world.now();
        let (product, name) = match &self.product {
            Product::Existing(id) => {
                let name = world.objects.get(id).and_then(|found| found["name"].as_str()).unwrap_or_default();
                (id.clone(), name.to_owned())
            }
            Product::New { name, description, metadata } => {
                let object = json!({
                    "id": new_id("prod_"),
                    "object": "product",
                    "active": true,
                    "created": now,
                    "default_price": null,
                    "description": description,
                    "images": [],
                    "livemode": world.livemode,
                    "marketing_features": [],
                    "metadata": metadata,
                    "name": name,
                    "package_dimensions": null,
                    "shippable": null,
                    "statement_descriptor": null,
                    "tax_code": null,
                    "tax_details": null,
                    "type": "service",
                    "unit_label": null,
                    "updated": now,
                    "url": null,
                });
                (world.objects.add(object), name.clone())
            }
        };
        let recurring = self.recurring.as_ref().map(|recurring| {
            json!({
                "interval": recurring.interval, "interval_count": recurring.interval_count, "meter": null,
                "trial_period_days": null, "usage_type": "licensed",
            })
        });
        let price = json!({
            "id": new_id("price_1"),
            "object": "price",
            "active": true,
            "billing_scheme": "per_unit",
            "created": now,
            "currency": self.currency,
            "custom_unit_amount": null,
            "livemode": world.livemode,
            "lookup_key": null,
            "metadata": {},
            "nickname": null,
            "product": product,
            "recurring": recurring,
            "tax_behavior": "unspecified",
            "tiers_mode": null,
            "transform_quantity": null,
            "type": if self.recurring.is_some() { "recurring" } else { "one_time" },
            "unit_amount": self.unit_amount,
            "unit_amount_decimal": self.unit_amount.to_string(),
        });
        world.objects.add(price.clone());
        (price, name)
    }
}

pub fn retrieve_price(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    call.params.done()?;
    Ok(shown(world.objects.named("price", &call.id, "price")?))
}

pub fn retrieve_product(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    call.params.done()?;
    Ok(shown(world.objects.named("product", &call.id, "id")?))
}
