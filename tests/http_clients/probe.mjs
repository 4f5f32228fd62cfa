// What a user of fetch does, and of EventSource where Node has one: node probe.mjs URL

const url = process.argv[2];

async function post(values) {
  const body = JSON.stringify({ symbol: "A", values });
  const answer = await fetch(`${url}/add_batch`, { method: "POST", body, headers: { "Content-Type": "application/json" } });
  await answer.text();
  return answer.status;
}

for (let i = 0; i < 3; i++) {
  console.log("post", await post([1.5]));
}
console.log("large", await post(Array(100_000).fill(2.5)));
const stats = await fetch(`${url}/stats?symbol=A&window=4`);
await stats.text();
console.log("stats", stats.status);

const events = await fetch(`${url}/events?symbol=A`);
let told = "";
for await (const piece of events.body.pipeThrough(new TextDecoderStream())) {
  told += piece;
  if (told.split("\n").length > 3) {
    break;
  }
}
console.log("event", told.split("\n")[2]);

if (typeof EventSource !== "undefined") {
  const source = new EventSource(`${url}/events?symbol=A`);
  const message = await new Promise((resolve, reject) => {
    source.onmessage = resolve;
    source.onerror = () => reject(new Error("EventSource failed"));
  });
  console.log("source", message.lastEventId);
  source.close();
}
process.exit(0);
