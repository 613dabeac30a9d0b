// Drives an agent with serf-rpc. Arguments: host, port, token. Prints one JSON line for each step.
'use strict';

const SerfRPC = require('serf-rpc');

const [host, port, token] = process.argv.slice(2);
const sorted = (value) => {
  if (Buffer.isBuffer(value)) return value.toString('hex');
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
};
const tell = (step, value) => console.log(JSON.stringify([step, sorted(value)]));
const serf = new SerfRPC();
const call = (name, ...body) =>
  new Promise((resolve, reject) =>
    serf[name](...body, (error, answer) => (error ? reject(answer) : resolve(answer))));

async function main() {
  await new Promise((resolve, reject) =>
    serf.connect({ rpc_host: host, rpc_port: port }, (error) => (error ? reject(error) : resolve())));
  await call('auth', { AuthKey: 'wrong' }).catch((answer) => tell('wrong token', answer.Error));
  await call('auth', { AuthKey: token });
  tell('members', await call('members'));
  tell('filtered', await call('members-filtered', { Tags: {}, Name: 'a', Status: 'alive' }));
  const event = new Promise((resolve) => serf.listen('user', resolve));
  const query = new Promise((resolve) => serf.listen('query', resolve));
  // The answer to a later request comes behind those of the streams.
  tell('tags', (await call('tags', { Tags: { role: 'db' }, DeleteTags: [] })).Error);
  tell('sent', (await call('event', { Name: 'deploy', Payload: 'payload', Coalesce: false })).Error);
  const record = await event;
  delete record.LTime;
  tell('event', record);
  tell('asked', (await call('query', { Name: 'question', Payload: 'why', Timeout: 2e9 })).Error);
  const asked = await query;
  tell('query', { Event: asked.Event, Name: asked.Name, Payload: asked.Payload });
  tell('answered', (await call('respond', { ID: asked.ID, Payload: 'an answer' })).Error);
  tell('stopped', (await call('stop', { Stop: 4242 })).Error);
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
