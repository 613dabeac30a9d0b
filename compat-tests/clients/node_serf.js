// Drives an agent with node-serf. Arguments: host, port, token. Prints one JSON line for each step.
'use strict';

const Serf = require('node-serf');

const [host, port, token] = process.argv.slice(2);
const sorted = (value) => {
  if (Buffer.isBuffer(value)) return value.toString('hex');
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
};
const tell = (step, value) => console.log(JSON.stringify([step, sorted(value)]));
const call = (client, name, ...body) =>
  new Promise((resolve, reject) =>
    client[name](...body, (error, answer) => (error ? reject(error) : resolve(answer))));

async function main() {
  const client = await new Promise((resolve, reject) => {
    const made = Serf.connect({ host, port: Number(port) }, (error) =>
      error ? reject(error) : resolve(made));
  });
  await call(client, 'auth', { AuthKey: 'wrong' }).catch((error) => tell('wrong token', error.message));
  await call(client, 'auth', { AuthKey: token });
  tell('members', await call(client, 'members'));
  tell('filtered', await call(client, 'membersFiltered', { Tags: {}, Name: 'a', Status: '' }));
  await call(client, 'event', { Name: 'x'.repeat(600), Payload: '', Coalesce: true })
    .catch((error) => tell('too large', error.message));
  await call(client, 'tags', { Tags: { role: 'db' }, DeleteTags: [] });
  const seen = [];
  const stream = client.stream({ Type: 'user' });
  stream.on('data', (record) => seen.push(record));
  await new Promise((resolve) => stream.on('listen', resolve));
  await call(client, 'event', { Name: 'deploy', Payload: 'payload', Coalesce: false });
  while (!seen.length) await new Promise((resolve) => setTimeout(resolve, 20));
  const record = seen[0].data || seen[0];
  delete record.LTime;
  tell('event', record);
  await new Promise((resolve) => stream.stop(resolve));
  tell('done', null);
  client.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
