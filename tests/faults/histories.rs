//! Crashes at every effect, and random histories.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use domain::PartnerName;
use platform::config::Environment;
use serde_json::json;
use tests::request;
use tests::sim::{
    Change, Faults, Histories, Keys, Plan, Protocol, Random, RealCarrier, Scenario, Simulation,
};

/// A number from the environment: `SIM_SEED`, `SIM_HISTORIES`.
fn number_from(name: &'static str) -> Option<u64> {
    Environment::process().required(name).ok()?.parse().ok()
}

/// Runs one plan on its own virtual clock.
fn run(plan: Plan) -> Result<u64, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let text = format!("{plan:?}");
    let result = runtime.block_on(Simulation::new(plan).run());
    result.map_err(|violation| format!("{violation:?}\nin {text}"))
}

/// The plan of a seed, without the parts that `SIM_LEAVE_OUT=keys,mails,strangers` names, so that a
/// violation of one part does not hide the others.
fn plan(seed: u64) -> Plan {
    let left_out = Environment::process().optional("SIM_LEAVE_OUT");
    let is_in = |what| !left_out.as_ref().is_some_and(|text| text.contains(what));
    let mut plan = Histories::plan(seed);
    for scenario in &mut plan.scenarios {
        if !is_in("keys") {
            scenario.keys = Keys::Kept;
        }
        scenario.mailing = scenario.mailing.filter(|_| is_in("mails"));
    }
    if !is_in("strangers") {
        plan.strangers = 0;
    }
    plan
}

/// Runs the plans on both cores and prints how often each promise is broken, with a seed for each,
/// instead of stopping at the first: shows the findings of a change to the simulator.
#[expect(clippy::print_stdout, reason = "what was asked for")]
fn survey(plans: Vec<Plan>) {
    type Found = BTreeMap<String, (usize, u64, String)>;
    let (plans, found) = (Mutex::new(plans), Mutex::new(Found::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(plan) = plans.lock().unwrap().pop() else {
                        return;
                    };
                    let seed = plan.seed;
                    let ended = std::panic::catch_unwind(|| run(plan));
                    let text = match ended {
                        Ok(Ok(_)) => continue,
                        Ok(Err(violation)) => violation,
                        Err(_) => "Panic".to_owned(),
                    };
                    let kind = text.split('(').next().unwrap_or_default().to_owned();
                    println!("seed {seed}: {kind}");
                    let mut found = found.lock().unwrap();
                    let entry = found.entry(kind).or_insert((0, seed, text));
                    entry.0 += 1;
                }
            });
        }
    });
    for (kind, (count, seed, text)) in found.into_inner().unwrap() {
        println!("{count:>6} {kind}, as with seed {seed}: {text:.1500}\n");
    }
}

/// Runs the plans on both cores; the first plan that breaks a promise fails the test.
fn run_all(plans: Vec<Plan>) -> usize {
    let count = plans.len();
    let plans = Mutex::new(plans);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let Some(plan) = plans.lock().unwrap().pop() else {
                            return Ok(());
                        };
                        run(plan).inspect_err(|_| plans.lock().unwrap().clear())?;
                    }
                })
            })
            .collect();
        for worker in workers {
            let result: Result<(), String> = worker.join().unwrap();
            if let Err(violation) = result {
                panic!("{violation}");
            }
        }
    });
    count
}

#[test]
fn without_faults_every_scenario_ends_as_it_should() {
    for scenario in Scenario::ALL {
        run(Plan::calm(scenario)).unwrap();
    }
}

/// One plan for each effect of `calm`, changed at that effect by `strike`.
fn at_every_effect(calm: &Plan, strike: impl Fn(&mut Plan, u64)) -> Vec<Plan> {
    let effects = run(calm.clone()).unwrap();
    let plans = (1..=effects).map(|effect| {
        let mut plan = calm.clone();
        strike(&mut plan, effect);
        plan
    });
    plans.collect()
}

fn crash(plan: &mut Plan, effect: u64) {
    plan.crash_at.push(effect);
}

#[test]
fn a_crash_at_any_effect_of_any_scenario_breaks_nothing() {
    let plans = Scenario::ALL.map(|scenario| at_every_effect(&Plan::calm(scenario), crash));
    let count = run_all(plans.concat());
    println!("{count} crash points");
}

#[test]
fn a_function_that_times_out_at_any_effect_of_any_scenario_breaks_nothing() {
    let time_out = |plan: &mut Plan, effect| plan.timeout_at.push(effect);
    let plans = Scenario::ALL.map(|scenario| at_every_effect(&Plan::calm(scenario), time_out));
    let count = run_all(plans.concat());
    println!("{count} time-outs");
}

fn lose_answer(plan: &mut Plan, effect: u64) {
    plan.lost_answer_at.push(effect);
}

#[test]
fn an_answer_lost_at_any_effect_of_any_scenario_breaks_nothing() {
    let plans = Scenario::ALL.map(|scenario| at_every_effect(&Plan::calm(scenario), lose_answer));
    let count = run_all(plans.concat());
    println!("{count} lost answers");
}

#[test]
fn clocks_five_minutes_apart_and_a_crash_at_any_effect_break_nothing() {
    let scenarios = [Scenario::CHECKOUT, Scenario::BOTH, Scenario::DECLINED_ONCE];
    let plans = scenarios.map(|scenario| {
        let calm = Plan {
            skews: Scenario::CLOCKS_APART,
            ..Plan::calm(scenario)
        };
        at_every_effect(&calm, crash)
    });
    run_all(plans.concat());
}

/// Safety must not depend on a partner's idempotency keys.
#[test]
fn a_crash_at_any_effect_breaks_nothing_at_a_partner_that_forgets_every_key() {
    let plans = [Scenario::CHECKOUT, Scenario::DECLINED_ONCE].map(|scenario| {
        let calm = Plan {
            partner_memory: 0,
            ..Plan::calm(scenario)
        };
        at_every_effect(&calm, crash)
    });
    run_all(plans.concat());
}

#[tokio::test(start_paused = true)]
async fn a_database_that_throttles_or_conflicts_for_ever_is_503_and_nothing_is_written() {
    let order = "ord_01JDB4XK00EXAMPVE0RDER0001";
    let cart = |order: Option<&str>| {
        let mut cart = json!({
            "customerId": "8080",
            "items": [{"productId": "1234", "quantity": 2, "price": 50}]
        });
        if let Some(order) = order {
            cart["orderId"] = order.into();
        }
        cart
    };
    let throttled = Faults {
        throttle: 1_000,
        ..Faults::default()
    };
    // A single call is also refused if it conflicts with a transaction
    // (`TransactionConflictException`).
    let conflicting = Faults {
        conflict: 1_000,
        ..Faults::default()
    };
    for faults in [throttled, conflicting] {
        for body in [cart(None), cart(Some(order))] {
            let plan = Plan {
                faults,
                ..Plan::calm(Scenario::CHECKOUT)
            };
            let simulation = Simulation::new(plan);
            let event = request("/api/order/cart.json", &body);
            let (reply, effects, items) = simulation.send_once(&event).await;
            assert_eq!(reply.status, 503, "{}", reply.text);
            assert_eq!(reply.code(), "database_unavailable");
            assert_eq!(reply.header("retry-after"), "5");
            // The call is retried, with jitter, before it fails.
            assert_eq!((effects, items), (4, 0));
        }
    }
}

/// When a customer returns, in milliseconds after the time to pay has ended: the sweep, its
/// message, and the worker that cancels take that long.
const ABOUT_THE_EXPIRY: std::ops::Range<i64> = -200..600;

/// At each kind of partner, the order is either paid and not cancelled, or cancelled and not
/// charged, whichever comes first.
#[test]
fn a_customer_who_comes_back_when_the_order_expires_pays_or_is_not_charged() {
    let mut plans = Vec::new();
    for protocol in [Protocol::Everybody, Protocol::Intents, Protocol::Orders] {
        for (seed, after) in ABOUT_THE_EXPIRY.step_by(10).enumerate() {
            // At PayPal a declined order lives for three hours and then expires.
            let unpaid_minutes = if protocol == Protocol::Orders {
                180
            } else {
                60
            };
            let rival_after = Some(i64::try_from(unpaid_minutes).unwrap() * 60_000 + after);
            plans.push(Plan {
                seed: seed as u64,
                protocol,
                ..Plan::calm(Scenario {
                    rival_after,
                    unpaid_minutes,
                    ..Scenario::PAID_WHEN_EXPIRED
                })
            });
        }
    }
    run_all(plans);
}

/// The scenarios that a real partner's double supports.
const ON_THE_WIRE: [Scenario; 7] = [
    Scenario::CHECKOUT,
    Scenario::BOTH,
    Scenario::DECLINED,
    Scenario::CANCELLED_AT_ONCE,
    Scenario::CANCELLED_WHILE_CHARGED,
    Scenario::CANCELLED_WHEN_PAID,
    Scenario::DECLINED_THEN_EXPIRED,
];

/// With the real clients, every request to a partner is an effect.
fn crash_everywhere_at(partner: PartnerName) -> usize {
    let plans = ON_THE_WIRE.map(|scenario| {
        let calm = Plan {
            partner: Some(partner),
            ..Plan::calm(scenario)
        };
        at_every_effect(&calm, crash)
    });
    run_all(plans.concat())
}

#[test]
fn a_crash_at_any_effect_breaks_nothing_through_the_client_of_stripe() {
    let count = crash_everywhere_at(PartnerName::Stripe);
    println!("{count} crash points");
}

#[test]
fn a_crash_at_any_effect_breaks_nothing_through_the_client_of_paypal() {
    let count = crash_everywhere_at(PartnerName::PayPal);
    println!("{count} crash points");
}

/// When a cancellation comes during the calls to the carrier, in milliseconds after the cart.
const WHILE_SHIPPED: [i64; 6] = [160, 180, 200, 220, 240, 260];

/// With EasyPost's client, every request to the carrier is an effect.
#[test]
fn a_crash_at_any_effect_breaks_nothing_through_the_client_of_easypost() {
    let cancelled = WHILE_SHIPPED.map(|after| Scenario {
        cancel_after: Some(after),
        ..Scenario::CHECKOUT
    });
    let shipped = [Scenario::CHECKOUT, Scenario::BOTH];
    let mut scenarios = shipped.to_vec();
    scenarios.push(Scenario::CANCELLED_AT_ONCE);
    scenarios.extend(cancelled);
    let easypost = scenarios
        .into_iter()
        .map(|each| (RealCarrier::EasyPost, each));
    let stale = shipped
        .clone()
        .map(|each| (RealCarrier::EasyPostWithStaleRates, each));
    let refusing = shipped.map(|each| (RealCarrier::EasyPostThatRefuses, each));
    let plans: Vec<Vec<Plan>> = easypost
        .chain(stale)
        .chain(refusing)
        .map(|(carrier, scenario)| {
            let calm = Plan {
                carrier: Some(carrier),
                ..Plan::calm(scenario)
            };
            at_every_effect(&calm, crash)
        })
        .collect();
    let count = run_all(plans.concat());
    println!("{count} crash points");
}

#[test]
fn an_answer_lost_at_any_effect_breaks_nothing_through_the_real_clients() {
    let mut calm = Vec::new();
    for partner in PartnerName::WITH_AGREEMENTS {
        calm.extend(ON_THE_WIRE.map(|scenario| Plan {
            partner: Some(partner),
            ..Plan::calm(scenario)
        }));
    }
    for carrier in [
        RealCarrier::EasyPost,
        RealCarrier::EasyPostWithStaleRates,
        RealCarrier::EasyPostThatRefuses,
    ] {
        calm.extend([Scenario::CHECKOUT, Scenario::BOTH].map(|scenario| Plan {
            carrier: Some(carrier),
            ..Plan::calm(scenario)
        }));
    }
    let plans: Vec<Vec<Plan>> = calm
        .iter()
        .map(|calm| at_every_effect(calm, lose_answer))
        .collect();
    let count = run_all(plans.concat());
    println!("{count} lost answers");
}

/// The plan of that seed with the real clients. If PayPal charges, other credentials replace the
/// account's for a while in some histories.
fn plan_on_the_wire(seed: u64) -> Plan {
    let carriers = [
        None,
        Some(RealCarrier::EasyPost),
        Some(RealCarrier::EasyPostWithStaleRates),
        Some(RealCarrier::EasyPostThatRefuses),
    ];
    let mut random = Random::new(seed);
    let partner = PartnerName::WITH_AGREEMENTS[random.below(2)];
    let mut scenarios: Vec<Scenario> = (0..2)
        .map(|_| {
            let scenario = ON_THE_WIRE[random.below(ON_THE_WIRE.len())].clone();
            let scenario = scenario.cancelled_at_random(&mut random);
            scenario.with_others(&mut random)
        })
        .collect();
    let plan = plan(seed);
    let change = match random.below(10) {
        0..4 if partner == PartnerName::PayPal => Some(Change::of_account(&mut random)),
        4..7 => Some(Change::of_partner(&mut random)),
        _ => plan.change,
    };
    if change.is_some_and(|change| change.other_account) {
        // Charges of an account whose credentials are gone cannot be refunded.
        for scenario in &mut scenarios {
            scenario.refunds = [None; 3];
            scenario.outside = [None; 2];
        }
    }
    Plan {
        partner: Some(partner),
        carrier: carriers[random.below(carriers.len())],
        scenarios,
        change,
        // The doubles refund only as scripted, and these histories script no refunds.
        refunds_fail: 0,
        ..plan
    }
}

/// `SIM_SEED`, `SIM_HISTORIES`, `SIM_FIRST`, and `SIM_SURVEY` as for the histories without real
/// clients.
#[test]
fn random_histories_keep_every_promise_through_the_real_clients() {
    run_histories(300, plan_on_the_wire);
}

/// The number of pairs for each scenario without `SIM_ALL_PAIRS`.
const PAIRS: usize = 400;

/// All pairs of the plain checkout, and of every other scenario a sample of 400 that is the same in
/// every run; `SIM_ALL_PAIRS=1` runs every pair of every scenario.
#[test]
fn any_two_crashes_on_the_way_break_nothing() {
    let mut plans = Vec::new();
    for (number, scenario) in Scenario::ALL.into_iter().enumerate() {
        let effects = run(Plan::calm(scenario.clone())).unwrap();
        let mut pairs: Vec<(u64, u64)> = (1..=effects)
            .flat_map(|first| (first + 1..=effects).map(move |second| (first, second)))
            .collect();
        if number > 0 && number_from("SIM_ALL_PAIRS").is_none() {
            let mut random = Random::new(number as u64);
            while pairs.len() > PAIRS {
                let pick = random.below(pairs.len());
                pairs.swap_remove(pick);
            }
        }
        plans.extend(pairs.into_iter().map(|(first, second)| Plan {
            crash_at: vec![first, second],
            ..Plan::calm(scenario.clone())
        }));
    }
    let count = run_all(plans);
    println!("{count} pairs of crash points");
}

/// `SIM_SEED=n` replays one history and prints every effect; `SIM_HISTORIES=n` runs that many,
/// starting at `SIM_FIRST=n`; `SIM_SURVEY=1` counts violations instead of stopping at the first.
#[test]
fn random_histories_keep_every_promise() {
    run_histories(2_000, plan);
}

/// The same, with refunds of every order.
#[test]
fn random_histories_of_refunds_keep_every_promise() {
    run_histories(500, Histories::plan_of_refunds);
}

/// A partner changes and changes back during the refunds.
#[test]
fn random_histories_of_refunds_keep_every_promise_while_the_billing_partner_changes() {
    run_histories(200, |seed| Plan {
        change: Some(Change::of_partner(&mut Random::new(seed))),
        ..Histories::plan_of_refunds(seed)
    });
}

/// The same with the real clients.
#[test]
fn random_histories_of_refunds_keep_every_promise_through_the_real_clients() {
    run_histories(200, |seed| {
        let partner = PartnerName::WITH_AGREEMENTS[Random::new(seed ^ 7).below(2)];
        let changes = Random::new(seed ^ 9).chance(300);
        let plan = Histories::plan_of_refunds(seed);
        let mut scenarios = plan.scenarios;
        for scenario in &mut scenarios {
            // The double settles nothing later.
            scenario.customer = "8080";
        }
        Plan {
            partner: Some(partner),
            scenarios,
            change: changes.then(|| Change::of_partner(&mut Random::new(seed))),
            refunds_fail: 0,
            refunds_pend: 0,
            ..plan
        }
    });
}

#[expect(clippy::print_stdout, reason = "how long it took is of interest")]
fn run_histories(count: u64, plan: impl Fn(u64) -> Plan) {
    if let Some(seed) = number_from("SIM_SEED") {
        let plan = Plan {
            trace: true,
            ..plan(seed)
        };
        run(plan).unwrap();
        return;
    }
    let count = number_from("SIM_HISTORIES").unwrap_or(count);
    let first = number_from("SIM_FIRST").unwrap_or(0);
    let started = Instant::now();
    let plans: Vec<Plan> = (first..first + count).rev().map(plan).collect();
    if number_from("SIM_SURVEY").is_some() {
        survey(plans);
    } else {
        run_all(plans);
    }
    let seconds = Duration::as_secs_f32(&started.elapsed());
    println!("{count} histories in {seconds:.0} s");
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in [2, 3, 5] {
        let effects = run(Histories::plan(seed)).unwrap();
        assert_eq!(run(Histories::plan(seed)).unwrap(), effects, "{seed}");
    }
}
