"""Stripe's official Python SDK as a second opinion, which knows nothing of Tollgate: it signs events and verifies them, and
is a client of what stands in for Stripe in the tests.

usage: stripe_sdk.py TOLLGATE STAND_IN FOLDER    the two binaries, and a throwaway folder to work in

Run by tests/stripe-sdk.sh.
"""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import stripe

from stripe_shapes import differences

TOLLGATE, STAND_IN, FOLDER = sys.argv[1:4]
# How long anything that should happen soon may take, on a machine that is busy with other tests.
PATIENCE_SECONDS = 30
DAY = 86_400


def ask(url, method="GET", body=None, headers=None):
    """Sends a request; its status and its body."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read()


def eventually(what, is_so):
    """Asks until there is an answer."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        answer = is_so()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"waited {PATIENCE_SECONDS} s in vain: {what}")


class StandIn:
    """What stands in for Stripe, until it is stopped."""

    def __init__(self):
        self.process = subprocess.Popen([STAND_IN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        told = dict(line.rstrip("\n").split("=", 1) for line in iter(self.process.stdout.readline, "\n") if "=" in line)
        self.url, self.api_key, self.secret = told["url"], told["api_key"], told["webhook_secret"]

    def control(self, path, body=None):
        """Asks what only the stand-in has: its clock, its cards, its events."""
        method = "GET" if body is None else "POST"
        data = None if body is None else json.dumps(body).encode()
        status, answer = ask(f"{self.url}_fake/{path}", method, data, {"content-type": "application/json"})
        assert status < 300, (path, status, answer)
        return json.loads(answer) if answer else None

    def client(self, key=None):
        """The SDK, asking it in place of Stripe."""
        return stripe.StripeClient(
            key or self.api_key,
            base_addresses={"api": self.url.rstrip("/")},
            max_network_retries=0,
        )

    def stop(self):
        self.process.stdin.close()
        self.process.wait(PATIENCE_SECONDS)


class Gate:
    """A gate that sells by the stand-in, until it is stopped."""

    def __init__(self, stand_in):
        held = [socket.socket() for _ in range(3)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        gateway, self.admin, metrics = (one.getsockname()[1] for one in held)
        for one in held:
            one.close()
        self.config = f"{FOLDER}/tollgate.toml"
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"""
[gateway]
listen = "127.0.0.1:{gateway}"
public_url = "http://127.0.0.1:{gateway}"
[upstream]
url = "http://127.0.0.1:9"
[admin]
listen = "127.0.0.1:{self.admin}"
[metrics]
listen = "127.0.0.1:{metrics}"
[store]
database = "sqlite://tollgate.db"
[billing.stripe]
secret_key = "{stand_in.api_key}"
webhook_secrets = ["{stand_in.secret}"]
livemode = false
api_base = "{stand_in.url}"
[plans.pro]
stripe_prices = ["price_pro"]
""")
        self.log = open(f"{FOLDER}/gate.log", "wb")
        command = [TOLLGATE, "--config", self.config, "up"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        eventually("the gate is ready", lambda: self.is_ready(metrics))

    def is_ready(self, metrics):
        assert self.process.poll() is None, open(f"{FOLDER}/gate.log", encoding="utf-8").read()
        try:
            return ask(f"http://127.0.0.1:{metrics}/readyz")[0] == 200
        except OSError:
            return False

    def webhook(self, body, signature):
        """Sends it an event, as Stripe does; the status."""
        headers = {"content-type": "application/json; charset=utf-8"}
        if signature is not None:
            headers["stripe-signature"] = signature
        return ask(f"http://127.0.0.1:{self.admin}/stripe/webhook", "POST", body.encode(), headers)[0]

    def run(self, *arguments):
        done = subprocess.run([TOLLGATE, "--config", self.config, *arguments, "--json"], capture_output=True, text=True)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def events(self):
        """The ids of the events in its inbox."""
        listed = self.run("webhooks", "list", "--limit", "1000")
        return [event["id"] for event in (listed["items"] if isinstance(listed, dict) else listed)]

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)
        self.log.close()


def event_of(kind, **members):
    """An event as Stripe writes it: indented, with letters of any language."""
    event = {
        "id": f"evt_{time.monotonic_ns()}",
        "object": "event",
        "api_version": stripe.api_version,
        "created": int(time.time()),
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
        "data": {"object": {"id": "sub_nobodys", "object": "subscription", "customer": "cus_nobodys", "description": "Zoë 日本 🎈"}},
        **members,
    }
    return json.dumps(event, indent=2, ensure_ascii=False)


def generated(body, secret, **options):
    return stripe.WebhookSignature.generate_signature_header(body, secret, **options)


def is_believed(body, header, secret):
    """Whether the SDK believes an event."""
    try:
        stripe.Webhook.construct_event(body, header, secret)
    except stripe.SignatureVerificationError:
        return False
    return True


def check_what_the_sdk_signs_is_taken(stand_in, gate):
    now = int(time.time())
    for header in [
        lambda body: generated(body, stand_in.secret),
        lambda body: generated(body, stand_in.secret, timestamp=now - 250),
        # While a secret is rolled there are two signatures, in either order.
        lambda body: generated(body, "whsec_new", timestamp=now) + "," + generated(body, stand_in.secret, timestamp=now).split(",")[1],
        lambda body: generated(body, stand_in.secret, timestamp=now) + ",v1=" + "0" * 64 + ",v0=" + "0" * 64,
    ]:
        body = event_of("customer.subscription.updated")
        signature = header(body)
        assert is_believed(body, signature, stand_in.secret)
        assert gate.webhook(body, signature) == 200, signature
        assert json.loads(body)["id"] in gate.events()


def check_what_the_sdk_does_not_believe_is_refused(stand_in, gate):
    now, before = int(time.time()), gate.events()
    body = event_of("customer.subscription.updated")
    good = generated(body, stand_in.secret, timestamp=now)
    digits = good.split("v1=")[1]
    for name, sent, header in [
        ("another body", body.replace("sub_nobodys", "sub_somebodys"), good),
        ("another spacing", json.dumps(json.loads(body), ensure_ascii=False), good),
        ("another secret", body, generated(body, "whsec_of_somebody_else")),
        ("another time", body, good.replace(f"t={now}", f"t={now - 1}")),
        ("another digit", body, good[:-1] + ("0" if good[-1] != "0" else "1")),
        ("an old one", body, generated(body, stand_in.secret, timestamp=now - 400)),
        ("only v0", body, good.replace("v1=", "v0=")),
        ("no time", body, f"v1={digits}"),
        ("no number", body, f"t=soon,v1={digits}"),
        ("no signature", body, f"t={now}"),
        ("nothing", body, ""),
    ]:
        assert not is_believed(sent, header, stand_in.secret), name
        assert gate.webhook(sent, header) == 400, name
    assert gate.webhook(body, None) == 400
    # The SDK does not look ahead; a gate does, for such a signature could be used until then.
    ahead = generated(body, stand_in.secret, timestamp=now + 400)
    assert is_believed(body, ahead, stand_in.secret)
    assert gate.webhook(body, ahead) == 400
    assert gate.events() == before, "nothing that was refused is kept"
    assert gate.webhook(body, good) == 200


def check_what_the_stand_in_signs_is_believed_by_both(stand_in, gate):
    for shape in ["new", "old"]:
        stand_in.control("shape", {"shape": shape})
        stand_in.control("events/take", {})
        seeded = stand_in.control("seed", {"email": f"{shape}@example.com", "prices": ["price_pro"], "card": "good"})
        act(stand_in, seeded["subscription"], "card_fails")
        act(stand_in, seeded["subscription"], "cancel_now")
        taken = stand_in.control("events/take", {})
        assert {"customer.subscription.created", "customer.subscription.deleted"} <= {one["type"] for one in taken}
        for one in taken:
            event = stripe.Webhook.construct_event(one["body"], one["signature"], stand_in.secret)
            assert (event.id, event.type) == (one["id"], one["type"])
            if shape == "new":
                described(event)
            assert gate.webhook(one["body"], one["signature"]) == 200, one["type"]
            assert gate.webhook(one["body"] + " ", one["signature"]) == 400
    stand_in.control("shape", {"shape": "new"})
    eventually("the customer is known", lambda: "new@example.com" in json.dumps(gate.run("accounts", "list")))


def act(stand_in, subscription, action, **more):
    stand_in.control(f"subscriptions/{subscription}/act", {"action": action, **more})


def described(thing):
    """Fails where an object is not as the SDK describes it; gives it back."""
    found = differences(json.loads(str(thing)))
    assert not found, "\n".join(found)
    return thing


def check_customers_are_made_found_changed_and_gone(stand_in, _gate):
    client = stand_in.client()
    described(client.v1.accounts.retrieve_current())
    made = described(client.v1.customers.create({"email": "zoë@example.com", "name": "Zoë", "metadata": {"tollgate_account": "acc_1"}}))
    assert (made.email, made.metadata["tollgate_account"]) == ("zoë@example.com", "acc_1")
    again = {"email": "once@example.com"}
    pair = [client.v1.customers.create(again, {"idempotency_key": "only-once"}) for _ in range(2)]
    assert pair[0].id == pair[1].id, "done once"
    refused(stripe.IdempotencyError, client.v1.customers.create, {"email": "other@example.com"}, {"idempotency_key": "only-once"})
    changed = described(client.v1.customers.update(made.id, {"name": "", "metadata": {"tollgate_account": "", "a": "b"}}))
    assert (changed.name, changed.metadata.to_dict()) == (None, {"a": "b"})
    assert [one.id for one in client.v1.customers.list({"email": "zoë@example.com"})] == [made.id]
    described(client.v1.customers.delete(made.id))
    assert client.v1.customers.retrieve(made.id).deleted


def refused(kind, call, *arguments):
    """Fails unless the SDK raises this; the error."""
    try:
        call(*arguments)
    except kind as error:
        return error
    raise AssertionError(f"{call.__name__}{arguments} was done")


def check_lists_go_on_page_by_page(stand_in, _gate):
    client = stand_in.client()
    made = [client.v1.customers.create({"email": f"page{number}@example.com"}).id for number in range(23)]
    walked = [one.id for one in client.v1.customers.list({"limit": 5}).auto_paging_iter()]
    assert walked[: len(made)] == list(reversed(made)), "the youngest first, none twice and none left out"
    assert len(walked) == len(set(walked))
    events = list(client.v1.events.list({"limit": 10}).auto_paging_iter())
    assert len(events) > len(made)
    of_kind = list(client.v1.events.list({"type": "customer.created", "limit": 3}).auto_paging_iter())
    assert {one.type for one in of_kind} == {"customer.created"} and len(of_kind) >= len(made)
    # Each stands there as it was sent, some in the shape of an API before the one that the SDK describes.
    family = stripe.api_version.rpartition(".")[2]
    current = [event for event in events if event.api_version.endswith(family)]
    assert len(current) > len(made)
    for event in current:
        described(event)
    assert described(client.v1.events.retrieve(events[0].id)).id == events[0].id
    first, second = client.v1.customers.list({"limit": 2}).data
    back = client.v1.customers.list({"limit": 2, "ending_before": second.id})
    assert [one.id for one in back.data] == [first.id]


def check_errors_are_those_of_stripe(stand_in, _gate):
    client = stand_in.client()
    error = refused(stripe.InvalidRequestError, client.v1.customers.retrieve, "cus_nobody")
    assert (error.http_status, error.code, error.param) == (404, "resource_missing", "id"), error
    error = refused(stripe.InvalidRequestError, client.v1.prices.retrieve, "price_nobodys")
    assert (error.http_status, error.code) == (404, "resource_missing"), error
    error = refused(stripe.InvalidRequestError, client.v1.subscriptions.create, {"items": [{"price": "price_pro"}]})
    assert (error.http_status, error.param) == (400, "customer"), error
    refused(stripe.AuthenticationError, stand_in.client("sk_test_of_somebody_else").v1.customers.list)
    customer = client.v1.customers.create({"email": "poor@example.com"}).id
    stand_in.control(f"customers/{customer}/card", {"card": "declines"})
    order = {"customer": customer, "items": [{"price": "price_pro"}], "payment_behavior": "error_if_incomplete"}
    error = refused(stripe.CardError, client.v1.subscriptions.create, order)
    assert (error.http_status, error.code) == (402, "card_declined"), error
    stand_in.control("faults", {"path_prefix": "/v1/customers", "kind": "status", "status": 429, "next": 1})
    refused(stripe.RateLimitError, client.v1.customers.list)
    stand_in.control("faults", {"path_prefix": "/v1/customers", "kind": "status", "status": 500, "next": 1})
    refused(stripe.APIError, client.v1.customers.list)
    stand_in.control("faults", {"path_prefix": "/v1/customers", "kind": "cut", "next": 1})
    refused(stripe.APIConnectionError, client.v1.customers.list)
    client.v1.customers.list()


def paying(stand_in, email):
    customer = stand_in.client().v1.customers.create({"email": email}).id
    stand_in.control(f"customers/{customer}/card", {"card": "good"})
    return customer


def check_a_subscription_lives(stand_in, _gate):
    client = stand_in.client()
    customer = paying(stand_in, "life@example.com")
    made = described(client.v1.subscriptions.create({"customer": customer, "items": [{"price": "price_pro"}], "trial_period_days": 14}))
    item = made["items"].data[0]
    assert (made.status, item.price.id) == ("trialing", "price_pro")
    assert abs(item.current_period_end - int(time.time()) - 14 * DAY) < 120
    ended = client.v1.subscriptions.update(made.id, {"trial_end": "now", "expand": ["latest_invoice"]})
    assert (ended.status, described(ended).latest_invoice.amount_paid) == ("active", 2900)
    asked = {
        "customer": customer,
        "subscription": made.id,
        "subscription_details": {"items": [{"id": item.id, "price": "price_team"}], "proration_behavior": "always_invoice"},
    }
    preview = described(client.v1.invoices.create_preview(asked))
    assert 6_900 <= preview.amount_due <= 7_000, preview.amount_due
    changed = {"items": [{"id": item.id, "price": "price_team"}], "proration_behavior": "always_invoice"}
    changed = described(client.v1.subscriptions.update(made.id, {**changed, "expand": ["latest_invoice.lines"]}))
    assert changed.latest_invoice.amount_paid == preview.amount_due
    leaving = described(client.v1.subscriptions.update(made.id, {"cancel_at_period_end": True}))
    assert leaving.cancel_at == leaving["items"].data[0].current_period_end
    client.v1.subscriptions.update(made.id, {"cancel_at_period_end": False})
    for invoice in client.v1.invoices.list({"subscription": made.id}).auto_paging_iter():
        described(invoice)
        assert invoice.parent.subscription_details.subscription == made.id
        assert invoice.status_transitions.finalized_at
        assert sum(line.amount for line in invoice.lines.data) == invoice.subtotal
    stand_in.control(f"customers/{customer}/card", {"card": "declines"})
    act(stand_in, made.id, "renew_now")
    failing = described(client.v1.subscriptions.retrieve(made.id, {"expand": ["latest_invoice"]}))
    assert (failing.status, failing.latest_invoice.status) == ("past_due", "open")
    assert failing.latest_invoice.attempt_count == 1
    error = refused(stripe.CardError, client.v1.invoices.pay, failing.latest_invoice.id)
    assert error.code == "card_declined"
    stand_in.control(f"customers/{customer}/card", {"card": "good"})
    assert described(client.v1.invoices.pay(failing.latest_invoice.id)).status == "paid"
    assert client.v1.subscriptions.retrieve(made.id).status == "active"
    gone = described(client.v1.subscriptions.cancel(made.id))
    assert gone.status == "canceled" and gone.ended_at
    assert [one.id for one in client.v1.subscriptions.list({"customer": customer})] == []
    assert [one.id for one in client.v1.subscriptions.list({"customer": customer, "status": "all"})] == [made.id]


def check_what_is_paid_is_refunded_and_disputed(stand_in, _gate):
    client = stand_in.client()
    seeded = stand_in.control("seed", {"email": "back@example.com", "prices": ["price_pro"], "card": "good"})
    charges = list(client.v1.charges.list({"customer": seeded["customer"]}).auto_paging_iter())
    assert [described(charge).amount for charge in charges] == [2900]
    described(client.v1.refunds.create({"charge": charges[0].id, "amount": 900}))
    assert client.v1.charges.retrieve(charges[0].id).amount_refunded == 900
    act(stand_in, seeded["subscription"], "dispute")
    disputes = client.v1.disputes.list({"charge": charges[0].id}).data
    assert [described(dispute).status for dispute in disputes] == ["needs_response"]
    assert described(client.v1.disputes.close(disputes[0].id)).status == "lost"


def check_checkout_and_portal_have_pages(stand_in, _gate):
    client = stand_in.client()
    customer = client.v1.customers.create({"email": "buyer@example.com"}).id
    order = {
        "mode": "subscription",
        "customer": customer,
        "client_reference_id": "acc_7",
        "line_items": [{"price": "price_pro", "quantity": 1}],
        "subscription_data": {"metadata": {"tollgate_account": "acc_7"}, "trial_period_days": 7},
        "success_url": "https://shop.example/thanks?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://shop.example/pricing",
    }
    session = described(client.v1.checkout.sessions.create(order))
    assert (session.status, session.payment_status, session.client_reference_id) == ("open", "unpaid", "acc_7")
    status, page = ask(session.url)
    assert status == 200 and b"outcome" in page, "there is a page to pay on"
    stand_in.control(f"checkout/{session.id}", {"outcome": "pay"})
    paid = described(client.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription", "line_items"]}))
    assert (paid.status, paid.subscription.status) == ("complete", "trialing")
    assert paid.subscription.metadata["tollgate_account"] == "acc_7"
    other = client.v1.checkout.sessions.create({**order, "line_items": [{"price": "price_team", "quantity": 1}]})
    assert described(client.v1.checkout.sessions.expire(other.id)).status == "expired"
    refused(stripe.InvalidRequestError, client.v1.checkout.sessions.expire, other.id)
    listed = client.v1.checkout.sessions.list({"customer": customer})
    assert [one.id for one in listed] == [other.id, session.id]
    portal = described(client.v1.billing_portal.sessions.create({"customer": customer, "return_url": "https://shop.example/"}))
    status, page = ask(portal.url)
    assert status == 200 and paid.subscription.id.encode() in page
    for configuration in client.v1.billing_portal.configurations.list():
        described(configuration)


def check_meters_add_up_and_take_an_event_once(stand_in, _gate):
    client = stand_in.client()
    meter = {"display_name": "Calls", "event_name": "api_calls", "default_aggregation": {"formula": "sum"}}
    meter = described(client.v1.billing.meters.create(meter))
    customer = client.v1.customers.create({"email": "metered@example.com"}).id
    now = int(time.time())
    event = {"event_name": "api_calls", "payload": {"stripe_customer_id": customer, "value": "5"}, "identifier": "use-1"}
    described(client.v1.billing.meter_events.create(event))
    error = refused(stripe.InvalidRequestError, client.v1.billing.meter_events.create, event)
    assert error.http_status == 400 and "already exists" in str(error), error
    client.v1.billing.meter_events.create({**event, "identifier": "use-2", "timestamp": now - 60})
    for timestamp in [now - 36 * DAY, now + 3_600]:
        late = {**event, "identifier": f"use-{timestamp}", "timestamp": timestamp}
        assert refused(stripe.InvalidRequestError, client.v1.billing.meter_events.create, late).http_status == 400
    minute = now // 60 * 60
    asked = {"customer": customer, "start_time": minute - 600, "end_time": minute + 600}
    summaries = client.v1.billing.meters.event_summaries.list(meter.id, asked)
    assert sum(described(one).aggregated_value for one in summaries.auto_paging_iter()) == 10
    assert [one.id for one in client.v1.billing.meters.list()] == [meter.id]


def check_a_shop_is_set_up(stand_in, _gate):
    client = stand_in.client()
    product = described(client.v1.products.create({"name": "Gold", "metadata": {"tollgate_plan": "gold"}}))
    price = {"product": product.id, "currency": "usd", "unit_amount": 9900, "recurring": {"interval": "month"}, "lookup_key": "gold_month"}
    price = described(client.v1.prices.create(price))
    assert [one.id for one in client.v1.prices.list({"lookup_keys": ["gold_month"], "active": True})] == [price.id]
    described(client.v1.products.update(product.id, {"default_price": price.id}))
    url = "https://api.example.com/tollgate/stripe/webhook"
    endpoint = described(client.v1.webhook_endpoints.create({"url": url, "enabled_events": ["invoice.paid"]}))
    assert endpoint.secret.startswith("whsec_") and endpoint.status == "enabled"
    assert "secret" not in client.v1.webhook_endpoints.retrieve(endpoint.id), "it is shown once"
    described(client.v1.webhook_endpoints.update(endpoint.id, {"enabled_events": ["*"]}))
    assert [one.url for one in client.v1.webhook_endpoints.list()] == [url]
    described(client.v1.webhook_endpoints.delete(endpoint.id))


def run_all(stand_in, gate):
    """Runs every check; how many passed and failed."""
    passed = failed = 0
    for name, check in list(globals().items()):
        if not name.startswith("check_"):
            continue
        what = name.removeprefix("check_").replace("_", " ")
        try:
            check(stand_in, gate)
            print(f"ok    {what}", flush=True)
            passed += 1
        except Exception as error:  # whatever it is, the others are still worth their run
            failed += 1
            place = error.__traceback__
            while place.tb_next is not None and place.tb_next.tb_frame.f_code.co_filename == __file__:
                place = place.tb_next
            print(f"FAIL  {what}\n{type(error).__name__} at line {place.tb_lineno}: {error}", file=sys.stderr, flush=True)
    return passed, failed


def main():
    # What was started ends with this, also when it is told to.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stand_in = StandIn()
    try:
        for price, product, amount in [("price_pro", "Pro", 2_900), ("price_team", "Team", 9_900)]:
            asked = {"id": price, "product": product, "unit_amount": amount, "currency": "usd", "interval": "month"}
            stand_in.control("prices", asked)
        gate = Gate(stand_in)
        try:
            passed, failed = run_all(stand_in, gate)
        finally:
            gate.stop()
    finally:
        stand_in.stop()
    print(f"SDK {stripe.VERSION}: {passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
