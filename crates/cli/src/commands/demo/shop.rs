//! The shop of the demo: orders are placed, paid and shipped, and some of it goes wrong as written in the script.

use super::{
    occurrence::{Asked, Occurrence},
    stage::{Service, Stage},
};
use crate::{
    exit::Outcome,
    pace::{Pace, Rate},
};
use eventbus::{Context, Data, Error, Event, EventData, HandlerError};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// How many orders are placed.
pub(super) const ORDERS: u32 = 80;
/// Every so many orders, the carriers are asked for quotes.
const QUOTE_EVERY: u32 = 16;
const CARRIERS: [&str; 3] = ["courier", "drone", "post"];
/// How long quotes are waited for, where all carriers are there.
const QUOTES_WITHIN: Duration = Duration::from_secs(10);
/// And where one is not.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Serialize, Deserialize, EventData)]
#[event(type = "demo.order.placed", version = 1, subject = "order_id")]
struct OrderPlaced {
    order_id: String,
    number: u32,
    total_cents: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, EventData)]
#[event(type = "demo.payment.captured", version = 1, subject = "order_id")]
struct PaymentCaptured {
    order_id: String,
    number: u32,
    total_cents: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, EventData)]
#[event(type = "demo.order.shipped", version = 1, subject = "order_id")]
struct OrderShipped {
    order_id: String,
    number: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize, EventData)]
#[event(type = "demo.quote.asked", version = 1, subject = "order_id")]
struct QuoteAsked {
    order_id: String,
    kilos: u32,
}

/// What a carrier replies.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Quote {
    cents: u64,
}

/// What goes wrong, and when. Only this decides, so that every run comes to the same figures.
mod script {
    use eventbus::HandlerError;
    use std::time::Duration;

    /// What the bank says to an order.
    pub(super) fn bank(number: u32, attempt: u32, mended: bool) -> Result<(), HandlerError> {
        match number {
            n if n % 10 == 3 && attempt < 3 => Err(HandlerError::retry("the card network timed out")),
            n if n % 20 == 7 => Err(HandlerError::reject("the card was reported stolen")),
            n if n % 40 == 12 && !mended => Err(HandlerError::retry("the bank is closed")),
            _ => Ok(()),
        }
    }

    pub(super) fn courier(number: u32, attempt: u32) -> Result<(), HandlerError> {
        match number {
            n if n % 25 == 0 && attempt == 1 => Err(HandlerError::retry_after("no courier at the door", Duration::from_millis(50))),
            _ => Ok(()),
        }
    }

    pub(super) fn mail(number: u32, attempt: u32) -> Result<(), HandlerError> {
        match number {
            n if n % 30 == 5 && attempt == 1 => Err(HandlerError::retry("451 mailbox busy, try again later")),
            _ => Ok(()),
        }
    }
}

/// Brings the services of the shop to the bus.
pub(super) async fn open(stage: &Arc<Stage>) -> Result<(), Error> {
    let on = Arc::clone(stage);
    let billing = move |ctx: Context, Data(order): Data<OrderPlaced>| bill(Arc::clone(&on), ctx, order);
    stage.serve(Service::new("billing", &[OrderPlaced::TYPE]), billing).await?;
    let on = Arc::clone(stage);
    let shipping = move |ctx: Context, Data(payment): Data<PaymentCaptured>| ship(Arc::clone(&on), ctx, payment);
    stage.serve(Service::new("shipping", &[PaymentCaptured::TYPE]), shipping).await?;
    let on = Arc::clone(stage);
    let mail = move |ctx: Context, event: Event| write_to_customer(Arc::clone(&on), ctx, event);
    stage.serve(Service::new("mail", &[OrderPlaced::TYPE, PaymentCaptured::TYPE, OrderShipped::TYPE]), mail).await?;
    stage.serve(Service::new("audit", &["demo.>"]).alone(), async || ()).await?;
    if stage.may_ask() {
        for carrier in CARRIERS {
            let quote = move |Data(asked): Data<QuoteAsked>| async move { quote(carrier, &asked) };
            stage.respond(Service::new(carrier, &[QuoteAsked::TYPE]), quote).await?;
        }
    }
    Ok(())
}

async fn bill(stage: Arc<Stage>, ctx: Context, order: Arc<OrderPlaced>) -> Result<(), HandlerError> {
    if stage.may_fail() {
        script::bank(order.number, ctx.attempt(), stage.is_mended())?;
    }
    let OrderPlaced { order_id, number, total_cents } = &*order;
    let payment = Event::new(PaymentCaptured { order_id: order_id.clone(), number: *number, total_cents: *total_cents });
    // The same payment has the same id, so that an order delivered twice is not paid twice.
    Ok(stage.follow(&ctx, payment.with_source("/shop/billing").with_id(format!("{}-payment-{number}", stage.run()))).await?)
}

async fn ship(stage: Arc<Stage>, ctx: Context, payment: Arc<PaymentCaptured>) -> Result<(), HandlerError> {
    if stage.may_fail() {
        script::courier(payment.number, ctx.attempt())?;
    }
    let shipped = Event::new(OrderShipped { order_id: payment.order_id.clone(), number: payment.number });
    Ok(stage.follow(&ctx, shipped.with_source("/shop/shipping").with_id(format!("{}-parcel-{}", stage.run(), payment.number))).await?)
}

async fn write_to_customer(stage: Arc<Stage>, ctx: Context, event: Event) -> Result<(), HandlerError> {
    #[derive(Deserialize)]
    struct Numbered {
        number: u32,
    }
    let number = event.decode::<Numbered>()?.number;
    if stage.may_fail() && event.event_type() == OrderPlaced::TYPE {
        script::mail(number, ctx.attempt())?;
    }
    Ok(())
}

fn quote(carrier: &str, asked: &QuoteAsked) -> Result<Quote, HandlerError> {
    let kilos = u64::from(asked.kilos);
    match carrier {
        "drone" if kilos > 5 => Err(HandlerError::reject(format!("{kilos} kg are too heavy to fly"))),
        "drone" => Ok(Quote { cents: 900 }),
        "courier" => Ok(Quote { cents: 650 + 40 * kilos }),
        _ => Ok(Quote { cents: 390 + 25 * kilos }),
    }
}

/// Places the orders, and now and then asks the carriers. Returns what they were asked.
pub(super) async fn trade(stage: &Arc<Stage>, rate: Option<Rate>) -> Outcome<Vec<Asked>> {
    stage.tell(Occurrence::Part(format!("the shop opens and takes {ORDERS} orders")));
    let mut pace = Pace::new(rate);
    let mut asking = JoinSet::new();
    for number in 1..=ORDERS {
        if stage.stop.or(pace.next()).await.is_err() {
            break;
        }
        let order = OrderPlaced { order_id: order_id(number), number, total_cents: 990 + 70 * u64::from(number) };
        stage.publish(Event::new(order).with_source("/shop")).await?;
        if stage.may_ask() && number % QUOTE_EVERY == 0 {
            let stage = Arc::clone(stage);
            asking.spawn(async move { (number, ask_carriers(&stage, number).await) });
        }
    }
    let mut asked = asking.join_all().await;
    asked.sort_by_key(|(number, _)| *number);
    Ok(asked.into_iter().map(|(_, asked)| asked).collect())
}

async fn ask_carriers(stage: &Stage, number: u32) -> Asked {
    let kilos = number / QUOTE_EVERY * 2;
    let event = Event::new(QuoteAsked { order_id: order_id(number), kilos }).with_source("/shop");
    let read = |reply: &eventbus::Reply| match reply.decode::<Quote>() {
        Ok(quote) => format!("{}.{:02} €", quote.cents / 100, quote.cents % 100),
        Err(error) => format!("declines ({})", error.message()),
    };
    let question = format!("quotes for {kilos} kg");
    // The last time, a carrier is asked that is closed today: the others are enough.
    if number + QUOTE_EVERY > ORDERS {
        let [a, b, c] = CARRIERS;
        return stage.ask(question, event, &[a, b, c, "airship"], CARRIERS.len(), CLOSED_WITHIN, read).await;
    }
    stage.ask(question, event, &CARRIERS, CARRIERS.len(), QUOTES_WITHIN, read).await
}

fn order_id(number: u32) -> String {
    format!("o-{number:03}")
}

/// How many requests a whole run makes.
pub(super) const REQUESTS: usize = (ORDERS / QUOTE_EVERY) as usize;

#[cfg(test)]
mod tests {
    use super::*;
    use eventbus::Verdict;

    #[test]
    fn the_script_has_every_kind_of_failure() {
        let outcomes =
            |attempt, mended| (1..=ORDERS).map(move |number| script::bank(number, attempt, mended).map_err(|error| error.verdict()));
        let count = |attempt, mended, verdict| outcomes(attempt, mended).filter(|outcome| *outcome == Err(verdict)).count();
        assert_eq!(count(1, false, Verdict::Reject), 4, "rejected at once");
        assert_eq!(count(1, false, Verdict::Retry), 8 + 2, "retried");
        assert_eq!(count(4, false, Verdict::Retry), 2, "given up while the bank is closed");
        assert_eq!(count(1, true, Verdict::Retry), 8, "the bank is open again");
    }

    #[test]
    fn a_drone_declines_what_is_heavy() {
        let asked = |kilos| QuoteAsked { order_id: "o-1".to_owned(), kilos };
        assert!(quote("drone", &asked(6)).is_err() && quote("drone", &asked(5)).is_ok());
        assert_eq!(quote("post", &asked(2)).unwrap().cents, 440);
    }
}
