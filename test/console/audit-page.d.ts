// The script is imported as text, by Bun's `with { type: "text" }`: it runs in the page, not here.
declare const text: string;
export default text;
