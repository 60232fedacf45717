//! Every code that Stripe publishes about charges and refunds, with its meaning.
//!
//! Sources: the `errors` section of Stripe's API description as generated into its Go library (API
//! version `2026-07-29.dahlia`), and the documentation pages "Error codes", "Decline codes", and
//! "Declines" (`advice_code`). Stripe publishes one list of codes for all its endpoints.

use super::super::answers::{Meaning, Words};

/// Nothing was started.
const LATER: &str = "
    idempotency_key_in_use lock_timeout payment_intent_rate_limit_exceeded rate_limit
";

/// The account, its keys, or its permissions.
const OPERATOR: &str = "
    account_invalid account_token_required_for_v2_account action_blocked
    anomalous_money_movement_request api_key_expired application_fees_not_allowed
    approval_required livemode_mismatch not_allowed_on_standard_account
    payment_method_configuration_failures payment_method_unactivated platform_account_required
    platform_api_key_expired progressive_onboarding_limit_exceeded request_blocked
    secret_key_required storer_capability_missing storer_capability_not_active
    testmode_charges_only tls_version_unsupported
";

/// Codes of other endpoints and of malformed requests.
const OTHER: &str = "
    account_country_invalid_address account_error_country_change_requires_additional_steps
    account_information_mismatch account_number_invalid acss_debit_session_incomplete
    alipay_upgrade_required balance_insufficient balance_invalid_parameter
    bank_account_bad_routing_numbers bank_account_exists bank_account_unverified
    bank_account_verification_failed bitcoin_upgrade_required capture_unauthorized_payment
    cardholder_phone_number_required charge_invalid_parameter charge_not_refundable
    clearing_code_unsupported country_code_invalid coupon_expired customer_max_payment_methods
    customer_max_subscriptions customer_session_expired customer_tax_location_invalid
    email_invalid failed_tax_calculation financial_account_balance_does_not_support_currency
    financial_account_capability_not_enabled financial_account_capability_restricted
    financial_connections_account_inactive financial_connections_account_pending_account_numbers
    financial_connections_account_unavailable_account_numbers
    financial_connections_no_successful_transaction_refresh forwarding_api_inactive
    forwarding_api_invalid_parameter forwarding_api_retryable_upstream_error
    forwarding_api_upstream_connection_error forwarding_api_upstream_connection_timeout
    forwarding_api_upstream_error instant_payouts_config_disabled
    instant_payouts_currency_disabled instant_payouts_limit_exceeded instant_payouts_unsupported
    intent_verification_method_missing invalid_characters
    invalid_mandate_reference_prefix_format invalid_source_usage invalid_tax_location
    invoice_no_customer_line_items invoice_no_payment_method_types
    invoice_no_subscription_line_items invoice_not_editable invoice_on_behalf_of_not_editable
    invoice_payment_intent_requires_action invoice_upcoming_none missing out_of_inventory
    ownership_declaration_not_allowed parameter_invalid_empty parameter_invalid_integer
    parameter_invalid_string_blank parameter_invalid_string_empty parameter_missing
    parameter_unknown parameters_exclusive payment_intent_invalid_parameter
    payment_intent_konbini_rejected_confirmation_number
    payment_method_bank_account_already_verified payment_method_billing_details_address_missing
    payment_method_invalid_parameter payment_method_invalid_parameter_testmode
    payment_method_microdeposit_failed payment_method_microdeposit_processing_error
    payment_method_microdeposit_verification_amounts_invalid
    payment_method_microdeposit_verification_amounts_mismatch
    payment_method_microdeposit_verification_attempts_exceeded
    payment_method_microdeposit_verification_descriptor_code_mismatch
    payment_method_microdeposit_verification_timeout payout_reconciliation_not_ready
    payouts_limit_exceeded payouts_not_allowed product_inactive refund_disputed_payment
    resource_already_exists return_intent_already_processed routing_number_invalid
    sepa_unsupported_account service_period_coupon_with_metered_tiered_item_unsupported
    setup_attempt_failed setup_intent_authentication_failure setup_intent_invalid_parameter
    setup_intent_mandate_invalid setup_intent_mobile_wallet_unsupported
    setup_intent_setup_attempt_expired setup_intent_unexpected_state shipping_address_invalid
    shipping_calculation_failed siret_invalid sku_inactive state_unsupported
    status_transition_invalid stripe_tax_inactive tax_id_invalid tax_id_prohibited
    taxes_calculation_failed terminal_location_country_unsupported terminal_reader_busy
    terminal_reader_hardware_fault terminal_reader_invalid_location_for_activation
    terminal_reader_invalid_location_for_payment terminal_reader_offline terminal_reader_timeout
    token_already_used token_in_use transfer_source_balance_parameters_mismatch
    transfers_not_allowed url_invalid
";

/// `error.code` of a call that opens, confirms, reads, or cancels a payment intent.
///
/// `resource_missing` depends on `error.param`: if that is neither the customer nor the payment
/// method, the object belongs to another account.
pub const CHARGE: Words = Words::new(&[
    (
        Meaning::DeclinedForNow,
        "
        card_decline_rate_limit_exceeded charge_exceeds_source_limit insufficient_funds
        processing_error",
    ),
    (
        Meaning::Declined,
        "
        account_closed bank_account_declined bank_account_restricted bank_account_unusable
        billing_invalid_mandate card_declined debit_not_authorized expired_card
        incorrect_address incorrect_cvc incorrect_number incorrect_zip
        india_recurring_payment_mandate_canceled invalid_card_type invalid_cvc
        invalid_expiry_month invalid_expiry_year invalid_number no_account
        payment_intent_mandate_invalid payment_method_bank_account_blocked postal_code_invalid
        refer_to_customer token_card_network_invalid",
    ),
    (Meaning::CustomerMustAct, "authentication_required"),
    (Meaning::NoAgreement, "resource_missing"),
    (
        Meaning::LookUp,
        "
        capture_charge_authorization_expired charge_already_captured charge_already_refunded
        charge_disputed charge_expired_for_capture intent_invalid_state
        payment_intent_action_required payment_intent_authentication_failure
        payment_intent_payment_attempt_expired payment_intent_payment_attempt_failed
        payment_intent_unexpected_state payment_method_customer_decline
        payment_method_not_available payment_method_provider_decline
        payment_method_provider_timeout",
    ),
    (
        Meaning::Refused,
        "
        amount_too_large amount_too_small charge_exceeds_transaction_limit country_unsupported
        invalid_charge_amount payment_intent_incompatible_payment_method
        payment_method_currency_mismatch payment_method_unexpected_state
        payment_method_unsupported_type",
    ),
    (Meaning::Refused, OTHER),
    (Meaning::Later, LATER),
    (Meaning::Operator, OPERATOR),
]);

/// `error.code` of a call that makes or lists refunds. A missing object belongs to another account.
pub const REFUND: Words = Words::new(&[
    (Meaning::LookUp, "charge_already_refunded"),
    (
        Meaning::Refused,
        "
        account_closed amount_too_large amount_too_small authentication_required
        bank_account_declined bank_account_restricted bank_account_unusable
        billing_invalid_mandate capture_charge_authorization_expired
        card_decline_rate_limit_exceeded card_declined charge_already_captured charge_disputed
        charge_exceeds_source_limit charge_exceeds_transaction_limit charge_expired_for_capture
        country_unsupported debit_not_authorized expired_card incorrect_address incorrect_cvc
        incorrect_number incorrect_zip india_recurring_payment_mandate_canceled
        insufficient_funds intent_invalid_state invalid_card_type invalid_charge_amount
        invalid_cvc invalid_expiry_month invalid_expiry_year invalid_number no_account
        payment_intent_action_required payment_intent_authentication_failure
        payment_intent_incompatible_payment_method payment_intent_mandate_invalid
        payment_intent_payment_attempt_expired payment_intent_payment_attempt_failed
        payment_intent_unexpected_state payment_method_bank_account_blocked
        payment_method_currency_mismatch payment_method_customer_decline
        payment_method_not_available payment_method_provider_decline
        payment_method_provider_timeout payment_method_unexpected_state
        payment_method_unsupported_type postal_code_invalid processing_error refer_to_customer
        token_card_network_invalid",
    ),
    (Meaning::Refused, OTHER),
    (Meaning::Later, LATER),
    (Meaning::Operator, "resource_missing"),
    (Meaning::Operator, OPERATOR),
]);

/// `error.decline_code`: why the issuer declined the card. Temporary are those whose next step is a
/// new attempt, or whose cause passes, such as a limit or an empty account.
pub const DECLINES: Words = Words::new(&[
    (
        Meaning::DeclinedForNow,
        "
        approve_with_id card_velocity_exceeded insufficient_funds issuer_not_available
        processing_error reenter_transaction try_again_later withdrawal_count_limit_exceeded",
    ),
    (
        Meaning::Declined,
        "
        call_issuer card_not_supported currency_not_supported do_not_honor do_not_try_again
        duplicate_transaction expired_card fraudulent generic_decline incorrect_cvc
        incorrect_number incorrect_pin incorrect_zip invalid_account invalid_amount invalid_cvc
        invalid_expiry_month invalid_expiry_year invalid_number invalid_pin lost_card
        merchant_blacklist new_account_information_available no_action_taken not_permitted
        offline_pin_required online_or_offline_pin_required pickup_card pin_try_exceeded
        restricted_card revocation_of_all_authorizations revocation_of_authorization
        security_violation service_not_allowed stolen_card stop_payment_order testmode_decline
        transaction_not_allowed",
    ),
    (
        Meaning::CustomerMustAct,
        "
        authentication_not_handled authentication_required mobile_device_authentication_required",
    ),
]);

/// `error.advice_code`: the issuer's advice on this decline. It overrules the decline's code.
pub const ADVICE: Words = Words::new(&[
    (Meaning::DeclinedForNow, "try_again_later"),
    (Meaning::Declined, "confirm_card_data do_not_try_again"),
]);
