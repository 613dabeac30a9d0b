mod captures;
mod go;
mod hostile;
mod making;
mod messages;
