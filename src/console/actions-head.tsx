/** Head of a column of buttons: who sees the page needs no word for it. */
export function ActionsHead() {
  return (
    <th scope="col">
      <span className="visually-hidden">Actions</span>
    </th>
  );
}
