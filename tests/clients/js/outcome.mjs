// Runs one scenario, named on the command line, and prints what it returned, or what the SDK threw, as one JSON line.

export const baseUrl = process.env.BASE_URL;
export const token = process.env.TOKEN;
export const asked = JSON.parse(process.env.ASKED);
export const timeout = 30_000;

export async function run(scenarios, vendor) {
  const scenario = scenarios[process.argv[2]];
  let outcome;
  try {
    outcome = { result: await scenario() };
  } catch (error) {
    if (!(error instanceof vendor.APIError)) throw error;
    const { status, message, code, type } = error;
    outcome = { error: error.constructor.name, status, message, code, type };
  }
  console.log(JSON.stringify(outcome));
}

export async function collect(stream) {
  const all = [];
  for await (const one of stream) all.push(one);
  return all;
}
