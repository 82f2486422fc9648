// The list of who was there, opened here and made into a table that a spreadsheet reads (RFC 4180).

import type { Attendance, Item } from "./api";
import type { Opener } from "./roster";

/** A cell: what a spreadsheet would take for a formula is text here. */
export function cell(text: string): string {
  const plain = /^[=+\-@\t\r]/.test(text) && !/^\+[0-9 ]+$/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

async function opened(item: Item | undefined, opener: Opener | null): Promise<string> {
  if (!item) return "";
  if (item.jwe && opener) return opener.open(item.jwe).catch(() => "");
  return item.status === "withheld" ? "withheld" : "";
}

/** The whole list. */
export async function table(list: Attendance, opener: Opener | null): Promise<string> {
  const head = ["Participant", "Name", "Number", "Profile", ...list.fields, "Role", "Joined", "Left"];
  const rows = list.people.map(async ({ pseudonym, name, number, profile, fields, role, joined_at, left_at }) => {
    const values = await Promise.all([name, number, profile, ...list.fields.map((_, n) => fields?.[n])].map((item) => opened(item, opener)));
    return [pseudonym, ...values, role, joined_at, left_at ?? ""];
  });
  const all = [head, ...(await Promise.all(rows))];
  return all.map((row) => row.map(cell).join(",") + "\r\n").join("");
}

/** Gives a text to who looks, as a file. */
export function save(name: string, text: string) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: name });
  link.click();
  URL.revokeObjectURL(url);
}
