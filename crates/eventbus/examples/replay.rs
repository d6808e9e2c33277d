//! Replay: a subscription may begin in the past, as far back as events are retained, and goes on with what is new without a gap.

use eventbus::{Result, prelude::*};

/// Prints the numbers that a subscription gets.
async fn print_from(bus: &MemoryBus, name: &'static str, start: Start) -> Result<()> {
    let subscription = bus
        .on(Subscribe::to("number.drawn").from(start).name(name), move |ctx: Context, event: Event| async move {
            println!("{name}: {} at {}", event.decode::<u32>()?, ctx.sequence().unwrap_or_default());
            Ok::<_, HandlerError>(())
        })
        .await?;
    // One after the other, so that their lines do not mix.
    bus.settled().await;
    subscription.close().await
}

#[tokio::main]
async fn main() -> Result<()> {
    let bus = MemoryBus::builder().retain_events(3).build()?;
    for number in [10, 20, 30, 40, 50] {
        bus.publish(Event::json("number.drawn", number)?).await?;
    }
    print_from(&bus, "earliest", Start::Earliest).await?;
    print_from(&bus, "sequence 4", Start::Sequence(4)).await?;
    print_from(&bus, "new", Start::New).await?;

    // A stream settles by hand, and may stop where it likes.
    let mut stream = bus.stream(Subscribe::to("number.drawn").from(Start::Earliest)).await?;
    bus.publish(Event::json("number.drawn", 60)?).await?;
    while let Some(delivery) = stream.next().await {
        let number = *delivery.event().decode::<u32>()?;
        delivery.ack()?;
        println!("stream: {number}");
        if number == 60 {
            break;
        }
    }
    drop(stream);
    bus.close().await
}
