//! A wallet in vectors and loops, written from money.md and not from the rules: what is granted,
//! held, charged, given back, bought, taken back, owed and expired, each hold and grant kept for ever.
//!
//! It does not say whether a hold is admitted; it says what the numbers are once it is.

/// A grant that is never forgotten.
pub struct OracleGrant {
    pub id: u128,
    pub given_at: i64,
    pub expires_at: Option<i64>,
    pub left: i64,
    /// Somebody paid for it.
    pub paid: bool,
    /// What is taken back of the payment it stands for.
    pub taken_back: i64,
    /// Its expiry has been taken note of; only what older holds may need is left.
    pub expiry_noted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Open,
    Expired,
    Settled,
    Released,
}

pub struct OracleHold {
    pub id: u128,
    pub node: u128,
    pub placed_at: i64,
    pub estimate: i64,
    pub worst: i64,
    pub fate: Fate,
    /// What was charged, from which grant.
    pub paid: Vec<(u128, i64)>,
    pub reversed: bool,
}

#[derive(Default)]
pub struct Oracle {
    pub grants: Vec<OracleGrant>,
    pub holds: Vec<OracleHold>,
    pub granted: i64,
    pub charged: i64,
    pub given_back: i64,
    pub expired: i64,
    pub shortfall: i64,
    pub bought: i64,
    pub adjusted: i64,
    /// Taken back for reversed payments, less what was given back since.
    pub reversed: i64,
    pub debt: i64,
}

impl Oracle {
    pub fn balance(&self) -> i64 {
        self.grants.iter().map(|grant| grant.left).sum()
    }

    pub fn held(&self) -> i64 {
        self.open().map(|hold| hold.estimate).sum()
    }

    pub fn open(&self) -> impl Iterator<Item = &OracleHold> {
        self.holds.iter().filter(|hold| hold.fate == Fate::Open)
    }

    pub fn hold(&mut self, id: u128) -> Option<&mut OracleHold> {
        self.holds.iter_mut().find(|hold| hold.id == id)
    }

    /// Credit that a hold placed now could spend.
    pub fn fresh(&self, now: i64) -> i64 {
        self.grants
            .iter()
            .filter(|grant| grant.expires_at.is_none_or(|e| e > now))
            .map(|grant| grant.left)
            .sum()
    }

    /// What open holds have set aside of the credit that a hold placed now could spend: what older
    /// holds will take from expired credit does not press on it.
    pub fn pressed(&self, now: i64, size: fn(&OracleHold) -> i64) -> i64 {
        let mut holds: Vec<(i64, i64)> = self.open().map(|hold| (hold.placed_at, size(hold))).collect();
        holds.sort_unstable();
        for index in self.in_spend_order() {
            let grant = &self.grants[index];
            let Some(expires_at) = grant.expires_at.filter(|e| *e <= now) else { continue };
            let mut left = grant.left;
            for (placed_at, need) in &mut holds {
                if *placed_at < expires_at {
                    let spent = left.min(*need);
                    left -= spent;
                    *need -= spent;
                }
            }
        }
        holds.iter().map(|(_, need)| need).sum()
    }

    pub fn grant(&mut self, id: u128, amount: i64, paid: bool, expires_at: Option<i64>, now: i64) {
        self.granted += amount;
        let left = amount - self.pay_debt(amount);
        let (taken_back, expiry_noted) = (0, false);
        self.grants.push(OracleGrant { id, given_at: now, expires_at, left, paid, taken_back, expiry_noted });
    }

    /// The part of `amount` that goes towards what is owed.
    fn pay_debt(&mut self, amount: i64) -> i64 {
        let paid = if amount < self.debt { amount } else { self.debt };
        self.debt -= paid;
        paid
    }

    /// Takes `amount` from unexpired credit, in spend order.
    fn take(&mut self, amount: i64, now: i64) {
        let mut rest = amount;
        for index in self.in_spend_order() {
            let grant = &mut self.grants[index];
            if grant.expires_at.is_none_or(|e| e > now) {
                let taken = rest.min(grant.left);
                grant.left -= taken;
                rest -= taken;
            }
        }
        assert_eq!(rest, 0, "more was taken than there is");
    }

    pub fn buy(&mut self, amount: i64, now: i64) {
        self.bought += amount;
        self.take(amount, now);
    }

    pub fn adjust(&mut self, amount: i64, now: i64) {
        self.adjusted += amount;
        self.take(amount, now);
    }

    pub fn take_back(&mut self, index: usize, amount: i64, now: i64) {
        self.reversed += amount;
        self.grants[index].taken_back += amount;
        let mut rest = amount;
        let mut order = vec![index];
        order.extend(self.in_spend_order().into_iter().filter(|other| {
            let grant = &self.grants[*other];
            *other != index && grant.paid && grant.expires_at.is_none_or(|e| e > now)
        }));
        for index in order {
            let taken = rest.min(self.grants[index].left);
            self.grants[index].left -= taken;
            rest -= taken;
        }
        self.debt += rest;
    }

    pub fn reinstate(&mut self, index: usize, amount: i64, now: i64) {
        self.reversed -= amount;
        self.grants[index].taken_back -= amount;
        let returned = amount - self.pay_debt(amount);
        self.give(index, returned, now);
    }

    /// Gives to a grant what came back; of one that has expired only what older holds may need stays.
    fn give(&mut self, index: usize, amount: i64, now: i64) {
        self.grants[index].left += amount;
        if amount > 0 && self.grants[index].expires_at.is_some_and(|e| e <= now) {
            self.grants[index].expiry_noted = true;
            let keep = self.keep_of(self.grants[index].id, now);
            self.drop_to(index, keep);
        }
    }

    /// Indices of grants, soonest expiry first, then oldest, then by id.
    fn in_spend_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.grants.len()).collect();
        for i in 0..order.len() {
            for j in i + 1..order.len() {
                let (first, second) = (&self.grants[order[i]], &self.grants[order[j]]);
                let later = match (first.expires_at, second.expires_at) {
                    (None, Some(_)) => true,
                    (Some(a), Some(b)) if a != b => a > b,
                    (Some(_), None) => false,
                    _ if first.given_at != second.given_at => first.given_at > second.given_at,
                    _ => first.id > second.id,
                };
                if later {
                    order.swap(i, j);
                }
            }
        }
        order
    }

    /// Charges `cost` to what the hold may spend; returns the shortfall.
    pub fn settle(&mut self, id: u128, cost: i64, now: i64) -> i64 {
        let placed_at = self.hold(id).expect("a hold to settle").placed_at;
        let mut rest = cost;
        let mut paid = Vec::new();
        for index in self.in_spend_order() {
            let grant = &mut self.grants[index];
            // Past its expiry a grant is there for older holds alone.
            let gone = grant.expires_at.is_some_and(|e| e <= now && placed_at >= e);
            let taken = if gone { 0 } else { rest.min(grant.left) };
            grant.left -= taken;
            rest -= taken;
            if taken > 0 {
                paid.push((grant.id, taken));
            }
        }
        self.charged += cost - rest;
        self.shortfall += rest;
        let hold = self.hold(id).expect("a hold to settle");
        hold.fate = Fate::Settled;
        hold.paid = paid;
        rest
    }

    pub fn reverse(&mut self, id: u128, now: i64) {
        let hold = self.hold(id).expect("a hold to reverse");
        hold.reversed = true;
        for (grant_id, amount) in hold.paid.clone() {
            self.given_back += amount;
            for index in 0..self.grants.len() {
                if self.grants[index].id == grant_id {
                    let towards_debt = if self.grants[index].paid { self.pay_debt(amount) } else { 0 };
                    self.give(index, amount - towards_debt, now);
                }
            }
        }
    }

    /// Holds past their age, then grants past their expiry, are gone.
    pub fn expire_due(&mut self, now: i64, max_age: i64) {
        for hold in &mut self.holds {
            if hold.fate == Fate::Open && hold.placed_at + max_age <= now {
                hold.fate = Fate::Expired;
            }
        }
        for index in self.in_spend_order() {
            let (id, expires_at) = (self.grants[index].id, self.grants[index].expires_at);
            let is_due = expires_at.is_some_and(|e| e <= now) && !self.grants[index].expiry_noted;
            if is_due && self.grants[index].left > 0 {
                self.grants[index].expiry_noted = true;
                let keep = self.keep_of(id, now);
                self.drop_to(index, keep);
            }
        }
        self.drop_unawaited(now);
    }

    /// Kept credit that no open hold is entitled to any more is gone.
    pub fn drop_unawaited(&mut self, now: i64) {
        for index in 0..self.grants.len() {
            let Some(expires_at) = self.grants[index].expires_at else { continue };
            if expires_at <= now && !self.open().any(|hold| hold.placed_at < expires_at) {
                self.drop_to(index, 0);
            }
        }
    }

    fn drop_to(&mut self, index: usize, keep: i64) {
        self.expired += self.grants[index].left - keep;
        self.grants[index].left = keep;
    }

    /// What must stay of a grant so that no older hold can run short because of its expiry, found by
    /// letting every older hold, oldest first, spend its worst case from expired grants.
    fn keep_of(&self, id: u128, now: i64) -> i64 {
        let mut needs: Vec<(i64, i64)> = self.open().map(|hold| (hold.placed_at, hold.worst)).collect();
        needs.sort_unstable();
        for index in self.in_spend_order() {
            let grant = &self.grants[index];
            let Some(expires_at) = grant.expires_at.filter(|e| *e <= now) else { continue };
            let mut left = grant.left;
            for (placed_at, need) in &mut needs {
                if *placed_at < expires_at {
                    let spent = left.min(*need);
                    left -= spent;
                    *need -= spent;
                }
            }
            if grant.id == id {
                return grant.left - left;
            }
        }
        0
    }
}
