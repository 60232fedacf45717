//! Crashes after every effect, and random histories.

use tests::sim::{Plan, Scenario, Simulation};

#[tokio::test(start_paused = true)]
async fn without_faults_every_scenario_ends_as_it_should() {
    for scenario in Scenario::ALL {
        let mut plan = Plan::calm(scenario.clone());
        plan.trace = std::env::var("SIM_TRACE").is_ok();
        let effects = Simulation::new(plan).run().await;
        println!("{scenario:?}: {effects:?}");
        assert!(effects.is_ok());
    }
}
