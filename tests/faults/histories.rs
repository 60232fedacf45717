//! Crashes after every effect, and random histories.

use std::time::{Duration, Instant};

use shared::config::Environment;
use tests::sim::{Histories, Plan, Scenario, Simulation};

/// A number from the environment: `SIM_SEED`, `SIM_HISTORIES`.
fn number(name: &'static str) -> Option<u64> {
    Environment::process().required(name).ok()?.parse().ok()
}

/// Runs one plan on a virtual clock of its own.
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

/// Runs the plans on both cores; the first that breaks a promise fails the test.
fn run_all(plans: Vec<Plan>) -> usize {
    let count = plans.len();
    let plans = std::sync::Mutex::new(plans);
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

#[test]
fn a_crash_at_any_effect_of_any_scenario_breaks_nothing() {
    let mut plans = Vec::new();
    for scenario in Scenario::ALL {
        let effects = run(Plan::calm(scenario.clone())).unwrap();
        for effect in 1..=effects {
            plans.push(Plan {
                crash_at: vec![effect],
                ..Plan::calm(scenario.clone())
            });
        }
    }
    let count = run_all(plans);
    println!("{count} crash points");
}

/// Safety must not rest on a partner's idempotency keys.
#[test]
fn a_crash_at_any_effect_breaks_nothing_at_a_partner_that_forgets_every_key() {
    let mut plans = Vec::new();
    for scenario in [Scenario::CHECKOUT, Scenario::DECLINED_ONCE] {
        let calm = Plan {
            partner_memory: 0,
            ..Plan::calm(scenario)
        };
        let effects = run(calm.clone()).unwrap();
        for effect in 1..=effects {
            plans.push(Plan {
                crash_at: vec![effect],
                ..calm.clone()
            });
        }
    }
    run_all(plans);
}

#[test]
fn any_two_crashes_on_the_way_break_nothing() {
    let mut plans = Vec::new();
    // All pairs of every scenario: SIM_ALL_PAIRS=1.
    let scenarios = if number("SIM_ALL_PAIRS").is_some() {
        &Scenario::ALL[..]
    } else {
        &Scenario::ALL[..1]
    };
    for scenario in scenarios {
        let effects = run(Plan::calm(scenario.clone())).unwrap();
        for first in 1..=effects {
            for second in first + 1..=effects {
                let crash_at = vec![first, second];
                plans.push(Plan {
                    crash_at,
                    ..Plan::calm(scenario.clone())
                });
            }
        }
    }
    let count = run_all(plans);
    println!("{count} pairs of crash points");
}

/// `SIM_SEED=n` replays one history and prints every effect; `SIM_HISTORIES=n` runs that many.
#[test]
fn random_histories_keep_every_promise() {
    if let Some(seed) = number("SIM_SEED") {
        let plan = Plan {
            trace: true,
            ..Histories::plan(seed)
        };
        run(plan).unwrap();
        return;
    }
    let count = number("SIM_HISTORIES").unwrap_or(200);
    let started = Instant::now();
    let plans = (0..count).rev().map(Histories::plan).collect();
    let count = run_all(plans);
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
